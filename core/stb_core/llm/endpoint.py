"""Where a model is; apart from the client, which is slow to import and often not needed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Endpoint:
    """Where a model is; the variables are named in errors, the key never is."""

    base_url: str
    api_key: str | None = field(repr=False)
    url_variable: str
    key_variable: str
