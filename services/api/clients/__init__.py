"""Typed callers of the sibling services."""
