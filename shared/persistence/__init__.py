"""PostgreSQL for one organization at a time."""
