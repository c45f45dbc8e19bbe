"""The response cache: memory, Redis and the store."""
