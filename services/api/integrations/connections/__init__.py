"""Links to the systems people data comes from."""
