"""The checks of ``stb doctor``: installation, store, Redis, server, models, and exposure to others."""
