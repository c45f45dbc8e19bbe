"""From what stands behind --agent to an agent, or to one line that says what there is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stb_agents.builtin.cot import Cot
from stb_agents.custom.registry import choose_agent, known_agents
from stb_core.errors import FormatError, NotFoundError, UsageError

OWN = """
from dataclasses import dataclass
from typing import ClassVar
from stb_agents.environment.budget import Budget

@dataclass(frozen=True)
class Own:
    width: int = 2
    share: float = 0.5
    loud: bool = False
    name: ClassVar[str] = "own"
    model_use: ClassVar[str] = "none"
    budget: ClassVar[Budget] = Budget()
    def settings(self):
        return {"width": self.width}
    async def solve(self, task, environment):
        raise NotImplementedError

instance = Own(width=7)

def solve(task, tools):
    return "42"

class Caller:
    async def __call__(self, task, tools):
        return "42"

def unfit(task):
    return "42"
number = 42
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own_agent.py"
    path.write_text(OWN)
    return path


def test_built_in_agents_are_found_by_name() -> None:
    """By entry point, with the version of this program as their code."""
    chosen = choose_agent("cot", {})

    assert isinstance(chosen.agent, Cot)
    assert chosen.code.identity.startswith("stabletoolbench ")
    assert {"cot", "scripted", "scripted-hasty"} <= set(known_agents())


def test_an_agent_of_ones_own_comes_from_a_file(own: Path) -> None:
    """A class is made, an instance is taken; the file's hash stands for its code."""
    made = choose_agent(f"{own}:Own", {"width": "3", "loud": "yes", "share": "0.25"})
    taken = choose_agent(f"{own}:instance", {})

    assert [made.agent.settings(), taken.agent.settings()] == [{"width": 3}, {"width": 7}]
    assert made.code.identity == hashlib.sha256(OWN.encode()).hexdigest()


def test_an_agent_of_ones_own_comes_from_a_module(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can be imported from the working directory."""
    monkeypatch.chdir(own.parent)

    assert choose_agent("own_agent:Own", {}).agent.name == "own"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nope", r"There is no agent 'nope'\. There are: .*cot.*scripted"),
        ("nowhere.py:x", r"There is no file nowhere\.py"),
        ("no_such_module:x", "There is no module 'no_such_module'"),
        ("stb_agents.no_such:x", "There is no module 'stb_agents.no_such'"),
        ("stb_agents.builtin.cot:Nope", "There is no 'Nope' in stb_agents.builtin.cot"),
    ],
)
def test_what_is_not_there_is_said(spec: str, message: str) -> None:
    """With what is there, where that helps."""
    with pytest.raises(NotFoundError, match=message):
        choose_agent(spec, {})


def test_a_callable_is_an_agent(own: Path) -> None:
    """A function, or an object that can be called, of two parameters; named after its file."""
    made = [choose_agent(f"{own}:{name}", {}).agent for name in ("solve", "Caller")]

    assert [agent.name for agent in made] == ["own_agent:solve", "own_agent:Caller"]


@pytest.mark.parametrize("name", ["number", "unfit"])
def test_what_is_no_agent_is_said(own: Path, name: str) -> None:
    """With what it would need."""
    with pytest.raises(FormatError, match=r"is neither an agent nor a function solve\(task, tools\)"):
        choose_agent(f"{own}:{name}", {})


def test_a_file_that_fails_is_named_with_its_error(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "broken.py").write_text("import no_such_thing")

    with pytest.raises(FormatError, match="ModuleNotFoundError: No module named 'no_such_thing'"):
        choose_agent(f"{tmp_path / 'broken.py'}:x", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": "1"}, r"has no option 'height'\. It has: loud, share, width\."),
        ({"width": "two"}, r"The option width cannot be 'two'\. It is of type int\."),
        ({"loud": "perhaps"}, r"The option loud cannot be 'perhaps'\. It is of type bool\."),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(own: Path, options: dict[str, str], message: str) -> None:
    """With the options that there are, or the type."""
    with pytest.raises(UsageError, match=message):
        choose_agent(f"{own}:Own", options)
