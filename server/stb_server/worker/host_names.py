"""The host names that a server answers to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from stb_core.errors import UsageError

_MOST_REMEMBERED = 1_000


class Hosts:
    """The names under which a server may be asked; those of the loopback are always among them.

    Args:
        names: host names without ports; ``*.example.org`` means all below it, ``*`` any at all.

    Raises:
        UsageError: one of them is no name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        given = [name.strip().lower().rstrip(".") for name in names]
        for name in given:
            if not name or any(sign in name for sign in "/@ ") or (name.count(":") == 1):
                raise UsageError(
                    f"{name!r} is no host name.", hint="Write it as in stb.example.org, without a port."
                )
        self._is_any = "*" in given
        self._told = frozenset(name for name in given if not name.startswith("*"))
        self._told_endings = tuple(name[1:] for name in given if name.startswith("*."))
        self._known: dict[bytes, bool] = {}

    def accept(self, header: bytes) -> bool:
        """Whether the value of a ``Host`` header, with or without a port, is one of them."""
        known = self._known.get(header)
        if known is None:
            known = self._is_any or self._is_ours(host_name(header))
            if len(self._known) < _MOST_REMEMBERED:
                self._known[header] = known
        return known

    def was_told(self, header: bytes) -> bool:
        """Whether it is a name that the server was told, other than ``*``."""
        name = host_name(header)
        return name in self._told or name.endswith(self._told_endings)

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name.endswith((".localhost", *self._told_endings)) or name in self._told:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def host_name(header: bytes) -> str:
    """The name in a ``Host`` header: ``[::1]:8080`` → ``::1``."""
    text = header.decode("latin-1").strip().lower()
    if text.startswith("["):
        address, end, _ = text[1:].partition("]")
        return address if end else ""
    return text.partition(":")[0].rstrip(".")
