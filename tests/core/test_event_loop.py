"""The event loop of commands."""

from __future__ import annotations

import asyncio
import sys

import pytest

from stb_core import event_loop


@pytest.fixture(autouse=True)
def _switch_interval() -> object:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_it_is_uvloop_and_quick_to_let_threads_have_a_turn() -> None:
    assert type(event_loop.run(_loop())).__module__.startswith("uvloop")
    assert sys.getswitchinterval() == pytest.approx(0.0005)


def test_without_uvloop_it_is_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert type(event_loop.run(_loop())).__module__.startswith("asyncio")
