"""The living relation: members, driver, lifecycle."""
