"""Imports: read, plan, approve, apply."""
