"""Who could be matched in a track, and everything known that speaks for it or against it."""
