"""One machine as a whole installation: database, processes, captured mail."""
