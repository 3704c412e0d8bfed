"""Matching from the outside: runs over frozen inputs, and the proposals they make."""
