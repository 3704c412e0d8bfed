"""The history of the api's database."""
