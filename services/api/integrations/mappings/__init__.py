"""Which column of a file means which field of a person."""
