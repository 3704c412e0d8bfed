"""Decisions on proposals: those of coordinators, and those of the people asked."""
