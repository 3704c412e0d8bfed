"""Sandbox organizations: a clock to play with, and what was sent; nothing there ever leaves."""
