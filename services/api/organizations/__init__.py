"""The organization: its name, its defaults, its order of grades, its clock."""
