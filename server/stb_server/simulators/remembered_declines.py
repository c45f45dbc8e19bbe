"""Remembers for a while which calls a simulator's model could not answer, so that they are not paid for again.

The same call is asked in the same words, with the same seeds, so it would most likely fail again. The memory is that
of one worker and is bounded. What can change at any moment, such as an endpoint that cannot be reached, is not remembered.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from stb_server.calls import Answer, CallRequest, Decline, Layer

REMEMBERED_S = 600.0
"""Seconds for which a decline is remembered."""
MAX_REMEMBERED = 10_000
"""Most declines that are remembered; the oldest are forgotten first."""
_REMEMBERED_KINDS = frozenset({"simulator_unreadable", "simulator_refused"})

_Place = tuple[int, str, str, str]


class RememberedDeclines:
    """A simulator that is not asked again for what it has just failed at; a layer of the pipeline.

    Args:
        simulator: is asked for everything else.
        clock: seconds, from any start.
    """

    def __init__(self, simulator: Layer, clock: Callable[[], float] = time.monotonic) -> None:
        self._simulator = simulator
        self._clock = clock
        self._declines: OrderedDict[_Place, tuple[float, Decline]] = OrderedDict()

    async def answer(self, request: CallRequest) -> Answer | Decline:
        """The simulator's answer, or a decline that it gave to this call before; that one costs nothing."""
        place = _place_of(request)
        if (known := self._declines.get(place)) is not None:
            until, decline = known
            if self._clock() < until:
                return decline
            del self._declines[place]
        outcome = await self._simulator.answer(request)
        if isinstance(outcome, Decline) and outcome.kind in _REMEMBERED_KINDS:
            self._declines[place] = (self._clock() + REMEMBERED_S, outcome._replace(usage=None))
            self._declines.move_to_end(place)
            while len(self._declines) > MAX_REMEMBERED:
                self._declines.popitem(last=False)
        return outcome


def _place_of(request: CallRequest) -> _Place:
    """What the prompt is made of: the call, within its episode, and the recordings that may be shown."""
    dataset, snapshot = request.dataset, request.snapshot
    return (dataset.id, dataset.created_at, request.call.key, snapshot.hash if snapshot else "")
