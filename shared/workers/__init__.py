"""The loop every background job shares."""
