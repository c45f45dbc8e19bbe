"""Retrieval of tools for a query, by BM25 or by embeddings."""

from stb_core.retrieval.retriever import Retriever, open_retriever
