"""What waits for a person inside the product."""
