"""Doors of whoever runs the servers: new organizations, a way back in, developer sign-in."""
