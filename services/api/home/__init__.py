"""What the acting person should do next, in one call."""
