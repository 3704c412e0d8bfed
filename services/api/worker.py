"""The worker of the api, being assembled."""
