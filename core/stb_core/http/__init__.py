"""The HTTP client that sends what is sent a million times."""
