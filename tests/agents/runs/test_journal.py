"""The journal: a trial goes on while its reply is being written, and no further than that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stb_agents.runs.journal import Journal, JournalledModel
from stb_core.errors import StoreError, UnreadableReplyError
from stb_core.llm.protocol import Reply, Request
from stb_core.store import Store
from stb_core.store.runs import JournalEntry
from stb_core.store.shielded import ShieldedTasks
from stb_core.usage import Usage
from stb_core.values.trajectories import Message

ASKED = Request(messages=(Message(role="user", content="Well?"),))


class CountingModel:
    """Counts its calls and says which it was."""

    name = "stub/any"

    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, _request: Request) -> Reply:
        self.calls += 1
        return Reply(content=f"Reply {self.calls}.")


class RefusingModel(CountingModel):
    """Says something else than what it is asked for."""

    def __init__(self, usage: Usage) -> None:
        super().__init__()
        self.usage = usage

    async def complete(self, _request: Request) -> Reply:
        raise UnreadableReplyError("No JSON.", reply="words", usage=self.usage)


class Disk:
    """Stands in for the store's table, to be slow or broken at will."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
        self.written: list[JournalEntry] = []
        self.is_free = asyncio.Event()
        self.trouble: Exception | None = None
        monkeypatch.setattr(store.runs, "journal", self.journal)

    async def journal(self, _run: str, entries: Sequence[JournalEntry]) -> None:
        await self.is_free.wait()
        if self.trouble:
            raise self.trouble
        self.written += entries


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, sqlite_store: Store) -> Disk:
    return Disk(monkeypatch, sqlite_store)


@pytest.fixture
def model() -> CountingModel:
    return CountingModel()


@pytest.fixture
def journalled(sqlite_store: Store, disk: Disk, model: CountingModel) -> JournalledModel:
    return JournalledModel(model, Journal(sqlite_store, "r", ShieldedTasks()), ("g", "1", 0), {})


async def test_the_next_reply_is_asked_for_when_the_last_is_on_disk(
    disk: Disk, model: CountingModel, journalled: JournalledModel
) -> None:
    """The first reply comes at once; the second call waits for it to be written."""
    first = await journalled.complete(ASKED)
    second = asyncio.create_task(journalled.complete(ASKED))
    await asyncio.sleep(0.05)

    assert (first.content, model.calls, disk.written) == ("Reply 1.", 1, [])

    disk.is_free.set()
    assert (await second).content == "Reply 2."
    await journalled.wait_until_written()
    assert [entry.occurrence for entry in disk.written] == [0, 1]


async def test_a_reply_that_is_of_no_use_is_paid_for_once(
    disk: Disk, journalled: JournalledModel, sqlite_store: Store
) -> None:
    """Where the trial goes on it is written down, and given again as it was; its end is another matter."""
    disk.is_free.set()
    usage = Usage(model_calls=4, prompt_tokens=40)
    journalled._model = RefusingModel(usage)

    with pytest.raises(UnreadableReplyError):
        await journalled.complete(ASKED)
    await journalled.wait_until_written()
    assert disk.written == []

    with pytest.raises(UnreadableReplyError):
        await journalled.complete(ASKED)
    await journalled.wait_until_written()
    (entry,) = disk.written
    known = {(entry.request_hash, entry.occurrence): Reply.model_validate_json(entry.reply)}
    again = JournalledModel(
        CountingModel(), Journal(sqlite_store, "r", ShieldedTasks()), ("g", "1", 0), known
    )
    with pytest.raises(UnreadableReplyError) as told:
        await again.complete(ASKED)
    assert (told.value.usage, told.value.reply) == (usage, "words")
    assert (await again.complete(ASKED)).content == "Reply 1."


async def test_a_reply_that_cannot_be_written_ends_the_trial(
    disk: Disk, model: CountingModel, journalled: JournalledModel
) -> None:
    """No further call is paid for, and settling says so as well."""
    disk.is_free.set()
    disk.trouble = StoreError("The disk is full.")

    await journalled.complete(ASKED)
    with pytest.raises(StoreError, match="disk is full"):
        await journalled.complete(ASKED)
    assert model.calls == 1

    await journalled.complete(ASKED)
    with pytest.raises(StoreError, match="disk is full"):
        await journalled.wait_until_written()
