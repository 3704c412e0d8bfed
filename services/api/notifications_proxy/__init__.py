"""The door to what notifications owns: inboxes, and the log of deliveries."""
