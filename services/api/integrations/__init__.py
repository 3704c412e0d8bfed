"""Links to other systems, and what comes in through them."""
