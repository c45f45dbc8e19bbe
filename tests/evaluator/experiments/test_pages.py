"""The pages of ``docs/stability/``: made by one command, and the table of findings is what they say."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stb_agents.custom.registry import choose_agent

PAGES = Path(__file__).parents[3] / "docs" / "stability"


@pytest.fixture(name="load")
def _load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, PAGES / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_table_says_what_the_pages_say(load: Callable[[str], ModuleType]) -> None:
    """Word for word; every page is there."""
    regenerate = load("regenerate")
    readme = (PAGES / "README.md").read_text()

    assert regenerate.with_findings(readme) == readme
    assert {page.parent.name for page in PAGES.glob("*/README.md")} == set(regenerate.PAGES)


def test_scripts_waver_by_their_seed_and_no_more(load: Callable[[str], ModuleType]) -> None:
    """The same question with the same seed has the same reply; about one verdict of ten is another."""
    scripted = load("scripted_models")

    def asked(seed: int, answer: int) -> dict[str, Any]:
        said = f"[1 begin final answer]\nname {answer}: 1; a: 2; b: 3; c: 4; d: 5\n[1 end final answer]"
        shape = {"name": "verdict", "schema": {}}
        return {
            "model": "judge",
            "seed": seed,
            "messages": [{"role": "user", "content": said}],
            "response_format": {"json_schema": shape},
        }

    replies = [scripted.reply(asked(seed, answer)) for seed in range(20) for answer in range(20)]

    assert scripted.reply(asked(3, 5)) == scripted.reply(asked(3, 5))
    assert 0.05 < sum(reply["answer_status"] != "solved" for reply in replies) / 400 < 0.15


def test_the_wavering_agent_is_one() -> None:
    """By the path of its file, as the command takes it."""
    assert choose_agent(f"{PAGES / 'wavering.py'}:agent", {}).agent.name == "wavering"
