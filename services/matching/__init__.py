"""Turns a matching problem into an explained solution; stores nothing."""
