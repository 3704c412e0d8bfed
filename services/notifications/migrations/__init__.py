"""The history of the database of notifications."""
