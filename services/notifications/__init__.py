"""Decides wording, channel, time and attempts; never what happened."""
