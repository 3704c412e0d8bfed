"""The change feed: what happened, in order and without gaps; and the relay to notifications."""
