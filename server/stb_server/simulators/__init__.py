"""Simulators: they answer in an API's place, and say so by the provenance of what they answer."""
