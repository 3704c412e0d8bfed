"""Algorithms of matching on plain arrays: no service, no schema, no I/O."""
