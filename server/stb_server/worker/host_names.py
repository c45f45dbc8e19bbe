"""The host names that a server answers to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from stb_core.errors import UsageError

_MOST_REMEMBERED = 1_000


class Hosts:
    """The host names that requests may use; those of the loopback are always allowed.

    Args:
        names: host names without ports; ``*.example.org`` allows all names below it, ``*`` any name.

    Raises:
        UsageError: one of them is not a host name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        configured = [name.strip().lower().rstrip(".") for name in names]
        for name in configured:
            if not name or any(sign in name for sign in "/@ ") or (name.count(":") == 1):
                raise UsageError(
                    f"{name!r} is not a host name.",
                    hint="Use a name such as stb.example.org, without a port.",
                )
        self._is_any = "*" in configured
        self._names = frozenset(name for name in configured if not name.startswith("*"))
        self._endings = tuple(name[1:] for name in configured if name.startswith("*."))
        self._known: dict[bytes, bool] = {}

    def accept(self, header: bytes) -> bool:
        """Whether the value of a ``Host`` header, with or without a port, is allowed."""
        known = self._known.get(header)
        if known is None:
            known = self._is_any or self._is_ours(host_name(header))
            if len(self._known) < _MOST_REMEMBERED:
                self._known[header] = known
        return known

    def is_configured(self, header: bytes) -> bool:
        """Whether the header holds a name that the server was given, other than by ``*``."""
        name = host_name(header)
        return name in self._names or name.endswith(self._endings)

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name.endswith((".localhost", *self._endings)) or name in self._names:
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
