"""The directory: people, their managers, and who may see their contact details."""
