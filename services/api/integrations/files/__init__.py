"""Delimited files as they arrive."""
