"""What a model costs: the user's own table of prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from stb_core.errors import UsageError
from stb_core.usage import Price


def price_of(name: str, values: Mapping[str, Any]) -> Price | None:
    """The price of a model by the table ``[prices]`` of the settings; None when it is not there.

    Raises:
        UsageError: the entry is not a price.
    """
    table = values.get("prices")
    entry = table.get(name) if isinstance(table, Mapping) else None
    if entry is None:
        return None
    try:
        return Price.model_validate(entry)
    except ValidationError:
        raise UsageError(
            f"The price of {name} cannot be read.",
            hint=f'Write: [prices]  "{name}" = {{ input = 0.15, output = 0.60 }}  (USD per million tokens).',
        ) from None
