"""The pieces of work that this process does, one after the other, among all processes that do the same work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from stb_core.errors import StoreError
from stb_core.store.shielded import ShieldedTasks
from stb_core.store.work import DONE, DRAINED, GO, LEASE_S, OPEN, Claim, Work, WorkerRow, WorkPlace
from stb_core.values import processes

_log = logging.getLogger(__name__)

BEAT_S = 5.0
"""How often claims are renewed."""
POLL_S = 0.5
"""How often a process that has nothing to do looks whether others have lost a piece, or ended theirs."""
_CANDIDATES = 256
"""How many named pieces are tried at once."""


class ClaimQueue:
    """Hands out claims to the slots of this process until no piece is left, here or elsewhere.

    A piece that another process holds may become free, so a slot that finds none waits until all pieces have ended.
    Get one with ``open_queue``.
    """

    def __init__(
        self, work: Work, place: WorkPlace, part: str, slots: int, items: Mapping[str, int], *, named: bool
    ) -> None:
        self._work, self._place, self._part, self._slots = work, place, part, slots
        self.owner = processes.make_mark()
        self.others: Sequence[WorkerRow] = ()
        """Processes that began to do the same before this one, and still do."""
        self.began_at = 0.0
        """When the first of them began, or this one if there is none, by the clock of the database."""
        self._last = max(items.values(), default=0)
        self._named: deque[str] | None = deque(sorted(items, key=items.__getitem__)) if named else None
        self._after = self._reached = -1
        self._ready: deque[Claim] = deque()
        self._held: dict[str, Claim] = {}
        self._waiting = 0
        self._is_alone = False
        self._refilling: asyncio.Task[None] | None = None
        self._tasks = ShieldedTasks()
        self._renewed_at = time.monotonic()
        self.mode = GO
        """As it was when claims were renewed last, see ``Work.beat``."""
        self._new_late = 0
        self._stopping = asyncio.Event()
        self.done = self.late = 0
        """Results that counted, and that were dropped because their claim was lost."""
        self.elsewhere = 0
        """Pieces that other processes have ended, as far as this one has noticed."""
        self.on_waiting: Callable[[int], None] = lambda _: None
        """Called with the number of pieces for which this process waits."""

    @property
    def is_stopped(self) -> bool:
        """Whether no piece is handed out any more; some may be left all the same."""
        return self._stopping.is_set()

    @property
    def is_drained(self) -> bool:
        """Whether someone has asked all processes to end when they have done what they began."""
        return self.mode == DRAINED

    @property
    def is_shared(self) -> bool:
        """Whether other processes have done part of the work."""
        return bool(self.others or self.elsewhere or self.late)

    async def next(self) -> Claim | None:
        """A piece to do now; None when none is left.

        Raises:
            StoreError: the store cannot be read or written.
        """
        self._waiting += 1
        try:
            while not self.is_stopped:
                self._drop_what_is_stale()
                if self._ready and self.mode == GO:
                    return self._ready.popleft()
                if self._refilling is None or self._refilling.done():
                    self._refilling = self._tasks.begin(self._refill())
                await asyncio.shield(self._refilling)
        finally:
            self._waiting -= 1
        return None

    def stop(self) -> None:
        """Hand out no further piece."""
        self._stopping.set()

    def count(self, claim: Claim, *, kept: bool) -> None:
        """Forget a claim that was ended with a result; ``kept`` says whether the result counts."""
        self._held.pop(claim.item, None)
        self.done += kept
        self.late += not kept
        self._new_late += not kept

    async def give_back(self, claim: Claim) -> None:
        """Let another process do a piece, or this one later."""
        self._held.pop(claim.item, None)
        await self._work.give_back([claim])

    async def claim_again(self, claim: Claim) -> Claim | None:
        """Claim a piece again that this process has ended as failed; None where it was opened again meanwhile."""
        again = await self._work.claim_failed(claim, self.owner)
        if again:
            self._held[again.item] = again
        return again

    async def is_any_left(self) -> bool:
        """Whether any of the pieces was left when this process joined: it may have read the log long before."""
        left = await self._work.left(self._place)
        return bool(left if self._named is None else left.intersection(self._named))

    async def count_open(self) -> int:
        """How many of the named pieces nobody does; call it when the queue was stopped."""
        await self._tasks.wait_until_done()
        states = await self._work.states(self._place, self._named or ())
        return len(self._ready) + sum(state == OPEN for state, _ in states.values())

    async def end(self, claim: Claim, state: str) -> None:
        """End a piece without a result."""
        self._held.pop(claim.item, None)
        await self._work.end([claim.ended(state)])

    def _drop_what_is_stale(self) -> None:
        """Begin nothing that was claimed before this process stood still; others may have it."""
        if time.monotonic() - self._renewed_at > LEASE_S:
            self._forget({claim.item for claim in self._ready})

    def _forget(self, lost: Collection[str]) -> None:
        """What was not begun and is lost is no longer handed out; what was begun is dropped when it ends."""
        self._ready = deque(claim for claim in self._ready if claim.item not in lost)
        for item in lost:
            self._held.pop(item, None)

    async def _refill(self) -> None:
        """Claim pieces for the slots that wait, or wait until there may be some."""
        if time.monotonic() - self._renewed_at > LEASE_S:
            await self._beat_once()
        if self.mode == DRAINED:
            self.stop()
            return
        if self.mode == GO:
            claims = await self._claim()
            if claims:
                self._held |= {claim.item: claim for claim in claims}
                self._ready.extend(claims)
                return
            n_elsewhere = await self._count_elsewhere()
            if not n_elsewhere:
                self.stop()
                return
            self.on_waiting(n_elsewhere)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), POLL_S)
        await self._free_those_of_the_dead(await self._work.workers(self._place))
        await self._beat_once()

    async def _claim(self) -> list[Claim]:
        if self._named is not None:
            return await self._claim_named(self._named)
        n = max(1, self._waiting) + self._ahead()
        claims = await self._work.claim(self._place, self.owner, n, after=self._after)
        if not claims and self._after >= 0:
            self._after = -1
            claims = await self._work.claim(self._place, self.owner, n)
        if claims:
            self._after = max(claim.position for claim in claims)
            self._reached = max(self._reached, self._after)
        return claims

    def _ahead(self) -> int:
        """How many pieces are claimed before a slot is free for them: few enough to leave others their share."""
        n = self._slots // 8
        if self._is_alone:
            return n
        return max(0, min(n, (self._last - self._reached) // (16 * self._slots)))

    async def _claim_named(self, named: deque[str]) -> list[Claim]:
        """Claim some of the named pieces; those that others hold go to the end."""
        for _ in range(-(-len(named) // _CANDIDATES)):
            tried = [named.popleft() for _ in range(min(_CANDIDATES, len(named)))]
            n = max(1, self._waiting)
            claims = await self._work.claim(self._place, self.owner, n, among=tried)
            mine = {claim.item for claim in claims}
            others = [item for item in tried if item not in mine]
            if claims:
                named.extendleft(reversed(others))
                return claims
            named.extend(others)
        return []

    async def _count_elsewhere(self) -> int:
        """How many pieces other processes hold; named ones that have ended are forgotten."""
        held = set(self._held)  # some may end while the store is read
        left = await self._work.left(self._place)
        if self._named is not None:
            ended = [item for item in self._named if item not in left]
            self.elsewhere += len(ended)
            self._named = deque(item for item in self._named if item in left)
            left = left.intersection(self._named)
        return len(left.difference(held, self._held))

    async def _free_those_of_the_dead(self, workers: Sequence[WorkerRow]) -> None:
        """What a process of this machine held that is gone is free at once."""
        gone = [one.owner for one in workers if one.is_gone]
        self._is_alone = len(workers) - len(gone) <= 1
        if gone:
            await self._work.free_those_of(gone, self._place)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._after = -1  # what others have lost lies behind
            try:
                await self._tasks.finish(self._beat_once())
                await self._free_those_of_the_dead(await self._work.workers(self._place))
            except StoreError:
                _log.warning("claims cannot be renewed", extra={"run": self._place.run})

    async def _beat_once(self) -> None:
        held = list(self._held.values())
        still = await self._work.renew(held)
        self._renewed_at = time.monotonic()
        self._forget({claim.item for claim in held if self._held.get(claim.item) is claim} - still)
        late, self._new_late = self._new_late, 0
        self.mode = await self._work.beat(self.owner, self.done, self._place, self._part, late)

    async def begin(self) -> None:
        """Register, and free what dead processes of this machine held."""
        workers = await self._work.register(self._place, self._part, self.owner, self._slots)
        await self._free_those_of_the_dead(workers)
        names = [one.owner for one in workers]
        earlier = workers[: names.index(self.owner)] if self.owner in names else workers
        self.others = [one for one in earlier if one.part == self._part and one.is_alive and not one.is_gone]
        mine = [one for one in workers if one.owner == self.owner]
        self.began_at = min((one.began_at for one in [*self.others, *mine]), default=0.0)

    async def close(self) -> None:
        """Give back what is held, and leave."""
        self.stop()
        await self._tasks.wait_until_done()
        with suppress(StoreError):  # claims end by themselves
            await self._work.give_back(list(self._held.values()))
            await self._work.unregister(self.owner, self._place, self._part, self._new_late)


@asynccontextmanager
async def open_queue(
    work: Work,
    place: WorkPlace,
    items: Mapping[str, int],
    still_left: Callable[[], Awaitable[Collection[str]]],
    *,
    slots: int,
    part: str = "",
    named: bool = False,
) -> AsyncGenerator[ClaimQueue]:
    """Make pieces of work, and do them together with all processes that do the same.

    What is held at the end of the block is given back.

    Args:
        work: of the store.
        place: whose work it is.
        items: the pieces that are left, with the order in which they are done.
        still_left: reads from the log which are left, see ``Work.put``.
        slots: how many pieces this process does at a time.
        part: which work of that kind, so that processes see who does the same.
        named: whether only these pieces are claimed; else all of the place.

    Raises:
        StoreError: the store cannot be read or written.
    """
    queue = ClaimQueue(work, place, part, slots, items, named=named)
    await queue.begin()
    beating = asyncio.create_task(queue._beat())  # noqa: SLF001 - this function is the only way to a queue
    try:
        await work.put(place, items, still_left)
        yield queue
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await queue.close()


@asynccontextmanager
async def claim_once(work: Work, place: WorkPlace, item: str, *, since: float) -> AsyncGenerator[bool]:
    """Whether this process is to do what is done once among processes that do the same work.

    Where another one does it, this waits until it has. If the block fails, another process may do it.

    Args:
        work: of the store.
        place: whose work it is.
        item: what is done.
        since: when they began, by the clock of the database (``ClaimQueue.began_at``). What was done before that is
            done again.
    """

    async def still_left() -> list[str]:
        return [] if await work.is_done_since(place, item, since) else [item]

    async with open_queue(work, place, {item: 0}, still_left, slots=1, part=item, named=True) as queue:
        claim = await queue.next()
        yield claim is not None
        if claim:
            await queue.end(claim, DONE)
