"""The experiments as commands of ``stb experiment``, one module per command."""
