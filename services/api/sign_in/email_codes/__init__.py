"""Sign-in by a code that arrives by mail, for organizations without an identity provider."""
