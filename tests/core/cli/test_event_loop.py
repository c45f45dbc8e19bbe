"""The event loop of commands."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Generator

import pytest

from stb_core.cli import event_loop


@pytest.fixture(autouse=True)
def _as_before() -> Generator[None]:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_it_is_uvloop_with_little_in_its_way() -> None:
    assert type(event_loop.run(_loop())).__module__.startswith("uvloop")
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert gc.get_threshold()[0] == 10_000


def test_without_uvloop_it_is_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert type(event_loop.run(_loop())).__module__.startswith("asyncio")
