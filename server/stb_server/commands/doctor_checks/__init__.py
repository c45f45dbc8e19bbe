"""What ``stb doctor`` looks at: what is installed, the store, Redis, a server, models, what is exposed."""
