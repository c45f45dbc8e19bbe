"""Log lines are JSON, carry what is being worked on, and never a secret; libraries do not drown them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator
from typing import Any

import pytest

from stb_core.errors import UsageError
from stb_core.telemetry import logs, secrets


@pytest.fixture(autouse=True)
def as_before() -> Generator[None]:
    """Logging is as it was, afterwards."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def line(message: str, *args: Any, **extra: Any) -> dict[str, Any]:
    """What a message becomes."""
    record = logging.makeLogRecord(
        {
            "name": "x",
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": message,
            "args": args,
            **extra,
        }
    )
    found: dict[str, Any] = json.loads(logs.JsonLines().format(record))
    return found


def test_a_line_has_the_event_and_its_fields() -> None:
    """What is passed as ``extra`` stands beside the message."""
    found = line("an event of %s", "two words", reason="none", color_message="again")

    assert {"level": "warning", "logger": "x", "event": "an event of two words", "reason": "none"} == {
        name: value for name, value in found.items() if name != "time"
    }


def test_secrets_are_masked() -> None:
    """In messages, in fields by their value, and in fields by their name."""
    found = line("Bearer abc", url="postgresql://stb:hush@db/stb", api_key="anything")

    assert ("***", "postgresql***db/stb", "***") == (found["event"], found["url"], found["api_key"])


def test_secrets_of_this_process_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever brings them into a line, a value within another one too."""
    monkeypatch.setattr(secrets, "_known", set())
    secrets.remember_secrets("no-known-form-1", "")

    found = line("got no-known-form-1", reason={"said": ["no%2Dknown-form-1"]}, url="a\\u006eb")

    assert ("got ***", {"said": ["***"]}, "a\\u006eb") == (found["event"], found["reason"], found["url"])


async def test_fields_stand_in_all_lines_of_their_block() -> None:
    """Also in those of tasks started within; not afterwards, and not in what others do meanwhile."""

    async def other() -> dict[str, Any]:
        await asyncio.sleep(0)
        return line("other")

    outside = asyncio.create_task(other())
    with logs.fields(trial="run/G1/7/0"):
        within = await asyncio.create_task(other())
        with logs.fields(request="r"):
            assert {"trial": "run/G1/7/0", "request": "r"}.items() <= line("both").items()

    assert ("run/G1/7/0", None, None) == (
        within["trial"],
        (await outside).get("trial"),
        line("after").get("trial"),
    )


@pytest.mark.parametrize(("level", "shown"), [("info", False), ("debug", True)])
def test_libraries_are_quiet_unless_asked(
    level: str, shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line about each request is shown at the level ``debug`` alone."""
    logs.configure(level)

    logging.getLogger("httpx2").info("a request")
    logging.getLogger("asyncpg.pool").warning("no database")
    logging.getLogger("stb_server").info("an event")

    said = [json.loads(text)["event"] for text in capsys.readouterr().err.splitlines()]
    assert (["a request", "no database"] if shown else []) + ["an event"] == said
    assert level == logs.current_level()


def test_an_unknown_level() -> None:
    """It is refused, with those that there are."""
    with pytest.raises(UsageError, match="There is no log level 'loud'"):
        logs.configure("loud")
