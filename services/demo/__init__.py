"""A demonstration that uses the public API as any outside client would."""
