"""People in a program: roles per track, capacity, answers, preferences."""
