"""One hash for a set of responses that moves with every write, whatever the order of writes.

An incremental multiset hash (AdHash; Bellare and Micciancio, EUROCRYPT 1997): each element is
expanded by SHAKE-256 to a number of 2,048 bits, and a set is the sum of its elements modulo
2²⁰⁴⁸, large enough that generalised-birthday search for a collision stays out of reach. Adding or
removing one response costs a microsecond however many there are, and the same set has the same
hash on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Self

_BYTES = 256
_MODULUS = 1 << (8 * _BYTES)


class Fingerprint:
    """The sum over a set of elements; starts from nothing, or from a stored ``state``."""

    def __init__(self, state: bytes | None = None) -> None:
        self._sum = int.from_bytes(state or b"", "little")

    def add(self, element: bytes) -> Self:
        """Put an element in."""
        self._sum = (self._sum + _expand(element)) % _MODULUS
        return self

    def remove(self, element: bytes) -> Self:
        """Take an element out that was put in before."""
        self._sum = (self._sum - _expand(element)) % _MODULUS
        return self

    def add_responses(self, provenance: str, responses: Iterable[tuple[str, bytes]]) -> Self:
        """Put in many responses of one origin, given as key and body: as ``add`` for each, faster."""
        origin = b"\0" + provenance.encode() + b"\0"
        self._sum = (
            self._sum
            + sum(_expand(key.encode() + origin + hashlib.sha256(body).digest()) for key, body in responses)
        ) % _MODULUS
        return self

    def merge(self, other: Self) -> Self:
        """Put in all elements of another set, none of which is in this one."""
        self._sum = (self._sum + other._sum) % _MODULUS
        return self

    @property
    def state(self) -> bytes:
        """What to store in order to continue later: 256 bytes."""
        return self._sum.to_bytes(_BYTES, "little")

    @property
    def hash(self) -> str:
        """SHA-256 of the sum, as hexadecimal digits."""
        return hashlib.sha256(self.state).hexdigest()


def response_element(key: str, provenance: str, body: bytes) -> bytes:
    """What stands for one response in a fingerprint: its key, origin and exact bytes."""
    return b"\0".join((key.encode(), provenance.encode(), hashlib.sha256(body).digest()))


def _expand(element: bytes) -> int:
    return int.from_bytes(hashlib.shake_256(element).digest(_BYTES), "little")
