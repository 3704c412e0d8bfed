"""Proposals: people who may be put together, from the first thought to their answers."""
