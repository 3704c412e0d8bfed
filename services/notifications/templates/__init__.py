"""Words: every kind of message in every language."""
