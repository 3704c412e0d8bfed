"""The door of access: keys, clients and role grants as resources."""
