"""Calls as they arrive: the wire format, identification, documents, and what an answer is."""
