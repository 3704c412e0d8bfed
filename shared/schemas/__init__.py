"""Wire contracts between services, and the constrained types every body is made of."""
