"""The agents' commands of ``stb``, one module per command."""
