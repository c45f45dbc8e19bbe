"""Raw answers of ToolBench's agents: ``<system>/<group>/<id>_<method>.json``, one search each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stb_core.errors import FormatError
from stb_core.usage import Usage
from stb_core.values import FINISH, Message, Trajectory
from stb_evaluator.formats.finish import GIVE_ANSWER, ended, read_finish
from stb_evaluator.formats.functions import offered_names
from stb_evaluator.formats.paths import Branch, choose_path, gives_answer, to_messages, to_nodes
from stb_evaluator.formats.published import convert_raw, keep_published
from stb_evaluator.formats.raw_out import COT, DFS
from stb_evaluator.formats.records import AnswerRecord, object_field, text_field
from stb_evaluator.formats.steps import make_step

KIND = "raw"


def is_record(value: Any) -> bool:
    """Whether a value is such an answer."""
    return isinstance(value, dict) and "answer_generation" in value and ("trys" in value or "tree" in value)


def read_record(
    record: dict[str, Any], system: str, group: str, query_id: str, method: str = ""
) -> AnswerRecord:
    """One answer: of several tries the first that ended with an answer, or else the last.

    ``method`` is the one that the file's name holds. What a ``Finish`` with an answer returned is left out, as in
    converted answers.

    Raises:
        FormatError: a field is missing or malformed.
    """
    generation = object_field(record, "answer_generation")
    query = text_field(generation, "query")
    tools = tuple(offered_names(generation.get("function") or []))
    is_search = "tree" in record
    branches = _tree(record["tree"], tools) if is_search else _tries(record["trys"], tools)
    method = method or (DFS if is_search else COT)
    path = choose_path(branches)
    steps = tuple(step for i in path if (step := branches[i].step) is not None)
    stop, final = ended(steps, generation.get("final_answer"))
    trajectory = Trajectory(
        group=group,
        query_id=query_id,
        query=query,
        agent=system,
        available_tools=tools,
        messages=to_messages(branches, path),
        steps=steps,
        tree=to_nodes(branches, path),
        stop=stop,
        final_answer=final,
        usage=Usage(model_calls=_count(generation.get("query_count"))),
        imported={"total_tokens": _count(generation.get("total_tokens")), "method": method},
    )
    published = convert_raw(generation, method)
    return AnswerRecord(keep_published(trajectory, published) if published else trajectory)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _tries(tries: Any, tools: tuple[str, ...]) -> list[Branch]:
    """All tries side by side as branches of one search, the one that counts at the end."""
    if not isinstance(tries, list):
        raise FormatError("trys is not a list")
    chains = [_chain(one.get("chain") if isinstance(one, dict) else None, tools) for one in tries]
    counts = next((i for i, chain in enumerate(chains) if any(map(gives_answer, chain))), len(chains) - 1)
    found: list[Branch] = []
    for chain in [*chains[:counts], *chains[counts + 1 :], *chains[counts : counts + 1]]:
        offset = len(found)
        found += [
            replace(branch, parent=None if branch.parent is None else branch.parent + offset)
            for branch in chain
        ]
    return found


def _chain(nodes: Any, tools: tuple[str, ...]) -> list[Branch]:
    if not isinstance(nodes, list):
        raise FormatError("a try has no chain")
    found: list[Branch] = []
    reader = _Reader(tools, found)
    parent, name = None, ""
    for node in nodes:
        parent, name = reader.read(node, parent, name)
    return found


def _tree(tree: Any, tools: tuple[str, ...]) -> list[Branch]:
    root = tree.get("tree") if isinstance(tree, dict) else None
    if not isinstance(root, dict):
        raise FormatError("tree has no root")
    found: list[Branch] = []
    reader = _Reader(tools, found)
    waiting: list[tuple[Any, int | None, str]] = [(child, None, "") for child in _children(root)]
    while waiting:
        node, parent, name = waiting.pop()
        parent, name = reader.read(node, parent, name)
        waiting += [(child, parent, name) for child in _children(node)]
    return found


def _children(node: dict[str, Any]) -> list[Any]:
    children = node.get("children") or []
    if not isinstance(children, list):
        raise FormatError("children is not a list")
    return children[::-1]


class _Reader:
    """Turns ToolBench's nodes (Thought, Action, Action Input) into branches."""

    def __init__(self, tools: tuple[str, ...], found: list[Branch]) -> None:
        self._tools = tools
        self._found = found

    def read(self, node: Any, parent: int | None, name: str) -> tuple[int | None, str]:
        """Read one node below ``parent``; returns (its index, name of the function being called)."""
        if not isinstance(node, dict):
            raise FormatError("a node is not an object")
        kind, text = node.get("node_type"), str(node.get("description") or "")
        if kind == "Action":
            return parent, text
        pruned = bool(node.get("pruned"))
        if kind == "Action Input":
            is_answer = name == FINISH and read_finish(text).return_type == GIVE_ANSWER
            response = "" if is_answer else node.get("observation")
            call = {"name": name, "arguments": text, "response": response}
            self._found.append(Branch(parent, step=make_step(call, self._tools), pruned=pruned))
        elif kind == "Thought":
            self._found.append(Branch(parent, message=Message(role="assistant", content=text), pruned=pruned))
        else:
            raise FormatError(f"there is no node type {str(kind)[:40]!r}")
        return len(self._found) - 1, ""
