"""Whether there are places for everybody who seeks one, and what could be done."""
