"""A search tree of messages. Nodes are only added; a conversation is read from the path to a node.

A node holds one message, or one step that no message shows (``Finish``). A turn is a row of nodes: the model's
message, and below it what its calls returned. The search continues from the last node of a turn; the turns that
begin there are its children.
"""

from __future__ import annotations

from collections.abc import Iterable

from stb_agents.environment import Turn
from stb_core.values import Message, Node, Step


class Tree:
    """Nodes by number, in the order in which they were added; a parent comes before its children."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._children: list[list[int]] = []

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, as a trajectory stores them."""
        return tuple(self._nodes)

    def add(self, parent: int | None, message: Message | None = None, step: Step | None = None) -> int:
        """Add a node under ``parent``; returns its number."""
        number = len(self._nodes)
        self._nodes.append(Node(parent=parent, message=message, step=step))
        self._children.append([])
        if parent is not None:
            self._children[parent].append(number)
        return number

    def add_all(self, parent: int | None, messages: Iterable[Message]) -> int:
        """Add one node below the other; returns the number of the last."""
        last = parent
        for message in messages:
            last = self.add(last, message)
        assert last is not None
        return last

    def add_turn(self, parent: int, turn: Turn) -> int:
        """Add the nodes of a turn; returns the number of the last, from which the next turn continues."""
        end = self.add(parent, turn.reply)
        for result in turn.results:
            end = self.add(end, result.message, result.step)
        return end

    def prune(self, number: int, why: str) -> None:
        """Mark that the search does not continue from a node, and why; the first reason stays."""
        if not self._nodes[number].pruned:
            self._nodes[number] = self._nodes[number].model_copy(update={"pruned": why})

    def mark_final(self, number: int) -> None:
        """Mark that a node holds an answer."""
        self._nodes[number] = self._nodes[number].model_copy(update={"final": True})

    def children(self, number: int) -> tuple[int, ...]:
        """The nodes directly under a node, the oldest first."""
        return tuple(self._children[number])

    def path(self, number: int, below: int | None = None) -> list[Node]:
        """The nodes from the root, or from below the node ``below``, to a node."""
        path: list[Node] = []
        at: int | None = number
        while at is not None and at != below:
            path.append(self._nodes[at])
            at = self._nodes[at].parent
        return path[::-1]

    def messages(self, number: int) -> tuple[Message, ...]:
        """The conversation that led to a node."""
        return tuple(node.message for node in self.path(number) if node.message)

    def steps(self, number: int) -> tuple[Step, ...]:
        """The calls that led to a node."""
        return tuple(node.step for node in self.path(number) if node.step)
