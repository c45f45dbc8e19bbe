"""Retrieval of tools for a query, by BM25 or by embeddings."""
