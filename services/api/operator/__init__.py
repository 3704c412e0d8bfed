"""Doors of whoever runs the servers: new organizations, ways in, developer sign-in."""
