"""Programs and participants: the only public door."""
