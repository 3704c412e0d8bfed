"""The built-in issuer's doors: its metadata, its public keys, and tokens for machines."""
