"""From the value of ``--agent`` to an agent: an installed name, an object in a file or module, or an address.

An object is written ``path/file.py:object`` or ``pkg.mod:object``, an address ``http://…``. A name is an entry
point of the group ``stabletoolbench.agents``: a class whose fields are the options of the agent. An object is
an agent, a class of agents, or a function ``solve(task, tools) -> answer``.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from stb_agents.custom.agent_code import AgentCode, code_of_distribution, code_of_folder, code_of_module
from stb_agents.custom.callables import CallableAgent, takes_task_and_tools
from stb_agents.custom.remote import SCHEMES, Remote
from stb_agents.environment import Agent
from stb_core.errors import FormatError, NotFoundError, UsageError
from stb_core.http import parse_url

ENTRY_POINTS = "stabletoolbench.agents"
_DISTRIBUTION = "stabletoolbench"
_MEMBERS = ("name", "model_use", "budget", "settings")
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


@dataclasses.dataclass(frozen=True)
class ChosenAgent:
    """An agent, and what is known of its code."""

    agent: Agent
    code: AgentCode


def known_agents() -> list[str]:
    """The names of the agents that are installed."""
    return sorted(entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS))


def choose_agent(spec: str, options: Mapping[str, str]) -> ChosenAgent:
    """Load the agent that a user names.

    Args:
        spec: the value of ``--agent``.
        options: the agent's own options, as text.

    Raises:
        NotFoundError: there is no such agent, file, module or object.
        UsageError: it has no such option, or an option's value has the wrong type.
        FormatError: the file cannot be loaded, or the object is not an agent.
    """
    if spec.startswith(SCHEMES):
        parse_url(spec)
        return ChosenAgent(_as_agent(Remote(spec), spec, options), AgentCode())
    place, separator, name = spec.rpartition(":")
    if not separator:
        return _installed(spec, options)
    is_file = place.endswith(".py")
    module = _module_of(Path(place)) if is_file else _import(place)
    try:
        candidate = getattr(module, name)
    except AttributeError:
        raise NotFoundError(f"There is no {name!r} in {place}.", hint="Check the name after ':'.") from None
    agent = _as_agent(candidate, spec, options)
    return ChosenAgent(
        agent, code_of_folder(Path(place).parent, Path(place)) if is_file else code_of_module(module)
    )


def _installed(name: str, options: Mapping[str, str]) -> ChosenAgent:
    entries = importlib.metadata.entry_points(group=ENTRY_POINTS, name=name)
    for entry in entries:
        agent = _as_agent(entry.load(), name, options)
        return ChosenAgent(agent, _code_of_entry(entry))
    raise NotFoundError(
        f"There is no agent {name!r}.",
        hint=f"There are: {', '.join(known_agents())}; or give your own as path/file.py:object.",
    )


def _code_of_entry(entry: importlib.metadata.EntryPoint) -> AgentCode:
    """Of our own agents the version of this program; of others the files as well."""
    if entry.dist is None:
        return code_of_module(sys.modules[entry.module])
    if entry.dist.name == _DISTRIBUTION:
        return AgentCode(f"{entry.dist.name} {entry.dist.version}")
    return code_of_distribution(entry.dist, entry.module.partition(".")[0])


def _module_of(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.", hint="Check the path before ':'.")
    name = f"stb_agent_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))  # so that it can import its neighbours, as a script can
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        raise FormatError(
            f"{path} cannot be loaded: {_line(problem)}.", hint="Run it with python."
        ) from problem
    return module


def _import(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name and (name == problem.name or name.startswith(f"{problem.name}.")):
            raise NotFoundError(f"There is no module {name!r}.", hint="Check the name before ':'.") from None
        raise FormatError(f"{name} cannot be loaded: {_line(problem)}.") from problem
    except Exception as problem:
        raise FormatError(f"{name} cannot be loaded: {_line(problem)}.") from problem


def _as_agent(candidate: Any, spec: str, options: Mapping[str, str]) -> Agent:
    if inspect.isclass(candidate) and (hasattr(candidate, "solve") or "__call__" in vars(candidate)):
        candidate = _instantiate(candidate, spec, options)
    elif options:
        raise UsageError(f"{spec} takes no options.", hint=f"Leave out: {', '.join(options)}.")
    if callable(getattr(candidate, "solve", None)) and all(hasattr(candidate, member) for member in _MEMBERS):
        agent: Agent = candidate
        return agent
    if takes_task_and_tools(candidate):
        return CallableAgent(_short(spec), candidate)
    raise FormatError(
        f"{spec} is neither an agent nor a function solve(task, tools).",
        hint="An agent has name, model_use, budget, settings() and async solve(task, environment).",
    )


def _short(spec: str) -> str:
    """``folder/file.py:object`` → ``file:object``."""
    place, _, name = spec.rpartition(":")
    return f"{Path(place).stem if place.endswith('.py') else place}:{name}"


def _instantiate(kind: type, spec: str, options: Mapping[str, str]) -> Any:
    """An instance with the given options, which are fields of a dataclass."""
    fields = {f.name for f in dataclasses.fields(kind) if f.init} if dataclasses.is_dataclass(kind) else set()
    unknown = sorted(set(options) - fields)
    if unknown:
        hint = f"It has: {', '.join(sorted(fields))}." if fields else "It has no options."
        raise UsageError(f"{spec} has no option {unknown[0]!r}.", hint=hint)
    hints = get_type_hints(kind) if options else {}
    return kind(**{name: _typed(name, text, hints[name]) for name, text in options.items()})


def _typed(name: str, text: str, hint: Any) -> Any:
    """The value of an option in the type of its field: text, path, number or boolean."""
    kinds = [kind for kind in getattr(hint, "__args__", (hint,)) if kind is not type(None)]
    kind = kinds[0]
    if kind is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
    elif kind in {int, float, str, Path}:
        try:
            return kind(text)
        except ValueError:
            pass
    raise UsageError(f"The option {name} cannot be {text!r}.", hint=f"It is of type {kind.__name__}.")


def _line(problem: BaseException) -> str:
    text = " ".join(str(problem).split()).rstrip(".")
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
