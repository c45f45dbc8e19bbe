"""A lease: names in the store that one session holds together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from stb_core.errors import BusyError
from stb_core.store import schema


@dataclass(frozen=True)
class Lease:
    """Names that a session holds together, by a token that is this session's alone."""

    names: tuple[str, ...]
    """Sorted, so that all transactions lock them in one order."""
    token: str
    what: str
    """The work in words, for messages."""

    @property
    def holding(self) -> sa.Select[str]:
        """The names that are still held; none of them can be taken until the transaction ends."""
        t = schema.leases.c
        mine = sa.select(t.name).where(t.name.in_(self.names), t.token == self.token)
        return mine.order_by(t.name).with_for_update(read=True)

    def check(self, still_held: Sequence[str]) -> None:
        """Check that all names are among those that ``holding`` selected.

        Raises:
            BusyError: another session has taken one.
        """
        if len(still_held) < len(self.names):
            raise BusyError(
                f"Another session took over {self.what} while this one stood still; this one stops.",
                hint="Wait until the other one ends; the same command then does what is left.",
            )
