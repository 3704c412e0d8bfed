"""Conventions of the public API, implemented once."""
