"""Plans of faults to inject on purpose, for robustness studies: seeded, and per API.

A plan is written ``down=0.5,429=0.1:0.5,latency=lognormal:0.3:0.5``: half of the APIs are down, a
tenth refuse half of their calls as too many, and every call takes a log-normal time with median
0.3 s. Which APIs and calls are hit depends only on the seed and their names, so it is the same on any machine
and in any order. The APIs hit at a share of 0.2 are among those hit at 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from statistics import NormalDist

import orjson

from stb_core.errors import UsageError
from stb_core.values import ToolCall

MAX_DELAY_S = 60.0


class FaultKind(StrEnum):
    """What goes wrong; if several faults hit one call, the first in this order applies."""

    DOWN = "down"
    """The gateway cannot reach the API, whatever the call."""
    TOO_MANY = "429"
    """The gateway refuses the call: too many requests."""
    SERVER_ERROR = "5xx"
    """The API fails with status 500, 502, 503 or 504."""
    EMPTY = "empty"
    """The answer has no content."""
    TRUNCATED = "truncated"
    """The answer's text ends half-way."""
    WRONG_SHAPE = "wrong_shape"
    """The answer is an array where it should be an object, or the other way round."""


DAMAGES = frozenset({FaultKind.TRUNCATED, FaultKind.WRONG_SHAPE})
"""Faults that damage a true answer; all others need no true answer."""


@dataclass(frozen=True, slots=True)
class FaultRate:
    """How often a fault occurs: the share of APIs that have it, and of their calls; both in [0, 1]."""

    apis: float
    calls: float = 1.0


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of delays in seconds, by its name and parameters (see ``_DELAYS``)."""

    name: str
    parameters: tuple[float, ...]

    def delay(self, quantile: float) -> float:
        """The delay at a quantile in (0, 1), in seconds, at most ``MAX_DELAY_S``."""
        return min(MAX_DELAY_S, _DELAYS[self.name][1](quantile, *self.parameters))


def _lognormal(q: float, median: float, sigma: float) -> float:
    return median * math.exp(min(sigma * NormalDist().inv_cdf(q), 700))


_DELAYS: dict[str, tuple[tuple[str, ...], Callable[..., float]]] = {
    "fixed": (("seconds",), lambda _, seconds: seconds),
    "uniform": (("low", "high"), lambda q, low, high: low + (high - low) * q),
    "exponential": (("mean",), lambda q, mean: -mean * math.log1p(-q)),
    "lognormal": (("median", "sigma"), _lognormal),
}


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Which faults occur, decided by ``seed``; an empty plan does nothing."""

    rates: tuple[tuple[FaultKind, FaultRate], ...] = ()
    latency: Latency | None = None
    seed: int = 0

    def fault(self, call: ToolCall) -> FaultKind | None:
        """The fault that hits a call, if any does."""
        api = (call.category, call.tool, call.api)
        for kind, rate in self.rates:
            hits_api = uniform(self.seed, kind, *api) < rate.apis
            if hits_api and (rate.calls >= 1 or uniform(self.seed, kind, "call", call.key) < rate.calls):
                return kind
        return None

    def delay_s(self, call: ToolCall) -> float:
        """How long a call is delayed, in seconds."""
        if self.latency is None:
            return 0.0
        return self.latency.delay(max(uniform(self.seed, "latency", call.key), 2.0**-53))

    def __str__(self) -> str:
        """The plan as it is written, without the seed."""
        parts = [
            ":".join(
                (f"{kind}={_number_text(rate.apis)}", *([_number_text(rate.calls)] if rate.calls < 1 else []))
            )
            for kind, rate in self.rates
        ]
        if self.latency:
            parts.append(
                ":".join((f"latency={self.latency.name}", *map(_number_text, self.latency.parameters)))
            )
        return ",".join(parts)


def _number_text(number: float) -> str:
    return repr(number).removesuffix(".0")


def uniform(seed: int, *what: str) -> float:
    """A number in [0, 1) that depends only on the arguments; it is the same on any machine."""
    digest = sha256(orjson.dumps([str(seed), *what])).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) * 2.0**-53


_HINT = (
    "Write NAME=SHARE or NAME=SHARE:SHARE_OF_CALLS, separated by commas, with the names "
    f"{', '.join(FaultKind)}; and latency=lognormal:MEDIAN:SIGMA, exponential:MEAN, uniform:LOW:HIGH "
    "or fixed:SECONDS."
)


def parse_faults(text: str, seed: int = 0) -> FaultPlan:
    """Read a plan.

    Raises:
        UsageError: the text is not a plan; the hint shows the form.
    """
    rates: dict[FaultKind, FaultRate] = {}
    latency: Latency | None = None
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = part.partition("=")
        name = name.strip().lower().replace("-", "_")
        if name == "latency":
            latency = _parse_latency(value.strip())
        elif separator and name in set(FaultKind):
            rates[FaultKind(name)] = _parse_rate(part, value)
        else:
            raise UsageError(f"There is no fault {part!r}.", hint=_HINT)
    ordered = tuple((kind, rates[kind]) for kind in FaultKind if kind in rates)
    return FaultPlan(ordered, latency, seed)


def _parse_rate(part: str, value: str) -> FaultRate:
    shares = [_number(share) for share in value.split(":")]
    if len(shares) > 2 or not all(share is not None and share <= 1 for share in shares):
        raise UsageError(f"{part!r} does not give shares from 0 to 1.", hint=_HINT)
    return FaultRate(*(share for share in shares if share is not None))


def _parse_latency(value: str) -> Latency:
    name, *rest = value.split(":")
    numbers = tuple(number for number in map(_number, rest) if number is not None)
    if name not in _DELAYS or not len(rest) == len(numbers) == len(_DELAYS[name][0]):
        raise UsageError(f"There is no distribution of delays {value!r}.", hint=_HINT)
    return Latency(name, numbers)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None
