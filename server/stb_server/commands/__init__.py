"""The server's commands of ``stb``, one module per command or group."""
