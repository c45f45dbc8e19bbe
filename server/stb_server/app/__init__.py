"""The HTTP application: routes, guards, health, and the processes that serve it."""
