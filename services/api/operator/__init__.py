"""Doors of whoever runs the servers: new organizations, and sign-in while developing."""
