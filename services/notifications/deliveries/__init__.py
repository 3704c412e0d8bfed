"""Messages on their way out: one row each, leased while it is worked on."""
