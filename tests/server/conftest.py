"""Fixtures of the server's tests."""

from __future__ import annotations

from llm_server import llm, llm_server

__all__ = ["llm", "llm_server"]
