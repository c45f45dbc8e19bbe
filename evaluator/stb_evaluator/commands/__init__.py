"""The evaluator's commands of ``stb``, one module per command."""
