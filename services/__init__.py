"""The three services, the command that starts them, and the demo that plays on them."""
