"""Dated conversations, and the calendar entries that go with them."""
