"""A search tree as a flat list of rows that a page folds; a branch starts where the search had a choice.

Nodes without a choice are drawn straight down, so that depth on the page means choices, not steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stb_core.values import FINISH, Node

MAX_LINES = 600
"""Maximum number of nodes and branches, to keep the page small."""
_LINES_OF_PATH = 100
_MAX_DEPTH = 60

ANSWER = "answer"
"""The branch leads to the submitted answer."""
PRUNED = "pruned"
"""The search abandoned the branch."""
PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class TreeRow:
    """``node``: one node; ``open`` and ``close``: around a branch; ``cut``: what is not drawn."""

    kind: Literal["node", "open", "close", "cut"]
    number: int = -1
    node: Node | None = None
    state: str = PLAIN
    count: int = 0
    """Nodes of the branch, or nodes that are not drawn."""
    place: tuple[int, int] = (0, 0)
    """The number of the branch, and of how many."""
    label: str = ""
    why: str = ""


@dataclass(frozen=True)
class TreeView:
    """The rows, with their totals."""

    rows: list[TreeRow]
    nodes: int
    branches: int
    pruned: int
    """Nodes at which the search turned back."""
    path: tuple[int, ...]
    """The numbers of the nodes that lead to the answer, from the root; empty when there is none."""


def draw_tree(nodes: Sequence[Node]) -> TreeView:
    """Draw the tree of a trajectory. A node whose parent is not an earlier node counts as a root."""
    children: list[list[int]] = [[] for _ in nodes]
    roots: list[int] = []
    for number, node in enumerate(nodes):
        parent = node.parent
        (children[parent] if parent is not None and 0 <= parent < number else roots).append(number)
    sizes = [1] * len(nodes)
    reasons = [node.pruned for node in nodes]
    for number in range(len(nodes) - 1, -1, -1):
        parent = nodes[number].parent
        if parent is not None and 0 <= parent < number:
            sizes[parent] += sizes[number]
            reasons[parent] = reasons[parent] or (reasons[number] if len(children[parent]) == 1 else "")
    path = _find_path(nodes)
    drawing = _Drawing(nodes, children, sizes, reasons, path)
    return TreeView(
        rows=drawing.rows(roots),
        nodes=len(nodes),
        branches=drawing.branches,
        pruned=sum(bool(node.pruned) for node in nodes),
        path=tuple(sorted(path)),
    )


def _find_path(nodes: Sequence[Node]) -> set[int]:
    """The nodes that lead to the submitted answer, which is the first one found."""
    at = next((number for number, node in enumerate(nodes) if node.final), None)
    path: set[int] = set()
    while at is not None and 0 <= at < len(nodes) and at not in path:
        path.add(at)
        at = nodes[at].parent
    return path


class _Drawing:
    def __init__(
        self,
        nodes: Sequence[Node],
        children: list[list[int]],
        sizes: list[int],
        reasons: list[str],
        path: set[int],
    ) -> None:
        self._nodes = nodes
        self._children = children
        self._sizes = sizes
        self._reasons = reasons
        self._path = path
        self.branches = 0

    def rows(self, roots: list[int]) -> list[TreeRow]:
        """All rows, without recursion: a tree may be deeper than the interpreter's stack."""
        rows: list[TreeRow] = []
        waiting: list[tuple[str, int, tuple[int, int], int]] = []
        drawn = 0

        def push(members: list[int], depth: int) -> None:
            forks = len(members) > 1
            for position, number in reversed(list(enumerate(members, 1))):
                waiting.append(("branch" if forks else "node", number, (position, len(members)), depth))

        push(roots, 0)
        while waiting:
            kind, number, where, depth = waiting.pop()
            if kind == "close":
                rows.append(TreeRow("close"))
                continue
            # A branch is opened only where there is room for its first node.
            lines = drawn + self.branches + (kind == "branch")
            if lines >= self._room(number) or depth > _MAX_DEPTH:
                missing = self._sizes[number]
                if rows and rows[-1].kind == "cut":
                    missing += rows.pop().count
                rows.append(TreeRow("cut", number, count=missing))
                continue
            if kind == "branch":
                self.branches += 1
                rows.append(self._branch(number, where))
                waiting.append(("close", number, where, depth))
                waiting.append(("node", number, where, depth + 1))
                continue
            drawn += 1
            node = self._nodes[number]
            rows.append(TreeRow("node", number, node, self._state(number), why=node.pruned))
            push(self._children[number], depth)
        return rows

    def _room(self, number: int) -> int:
        """Maximum number of lines before a node; the path to the answer is drawn even if it comes late."""
        return MAX_LINES + (_LINES_OF_PATH if number in self._path else 0)

    def _state(self, number: int) -> str:
        if number in self._path:
            return ANSWER
        return PRUNED if self._reasons[number] else PLAIN

    def _branch(self, number: int, where: tuple[int, int]) -> TreeRow:
        return TreeRow(
            "open",
            number,
            state=self._state(number),
            count=self._sizes[number],
            place=where,
            label=self._label(number),
            why="" if number in self._path else self._reasons[number],
        )

    def _label(self, number: int) -> str:
        """The first call of a branch, or else its first message."""
        at = number
        while True:
            node = self._nodes[at]
            if node.step:
                return f"{node.step.function} {'' if node.step.function == FINISH else node.step.arguments}"
            if node.message and node.message.tool_calls:
                call = node.message.tool_calls[0]
                return f"{call.name} {call.arguments}"
            if len(self._children[at]) != 1:
                break
            at = self._children[at][0]
        message = self._nodes[number].message
        return (message.content if message else None) or ""
