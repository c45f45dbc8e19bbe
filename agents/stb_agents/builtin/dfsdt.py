"""``dfsdt``: depth-first search over a decision tree of turns (ToolLLM, arXiv:2307.16789, section 3.2).

From a node the model makes one turn, and the search continues from there at once. A model that sees no way
forward calls ``Finish`` to give up. Then that node is abandoned, and the node above makes its next child: the
model is shown the former children and asked for something different. With ``ranking`` all children of a
node are made first, and visited in the order that the model prefers; it compares each pair in both orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from stb_agents.builtin.cot import SYSTEM_PROMPT
from stb_agents.builtin.prompts import read_prompt
from stb_agents.builtin.ranking import rank_candidates
from stb_agents.builtin.tree import Tree
from stb_agents.environment import Budget, BudgetSpent, Environment, ModelUse, Outcome, Task, perform_calls
from stb_core.errors import RequestRefusedError
from stb_core.values import Message, Node, StopReason

DIVERSITY_PROMPT = """\
You have been at this point before. From here you already did the following:
{former}
None of that led to an answer. Do something different now: call another function, or the same one with
other arguments. If nothing else is left to try, call Finish to give up."""

_LONGEST_FORMER = 300

GAVE_UP = "gave up"
TOO_DEEP = "at the depth limit"
ABANDONED = "abandoned: it gave up below"
LEFT = "left: an answer was found below"
REFUSED = "the model did not accept the conversation"


@dataclass(frozen=True)
class Back:
    """A visit is over: the search climbs ``levels`` nodes, and the node that it reaches makes its next child."""

    levels: int
    why: str = ""


@dataclass(frozen=True)
class SearchEnded:
    """The search is over: it has found enough answers."""


@dataclass(frozen=True)
class Child:
    """A turn below a node: the node at its end, and how it ended."""

    end: int
    answer: str | None = None
    gave_up: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the search can continue from it."""
        return self.answer is None and not self.gave_up


@dataclass(frozen=True)
class Dfsdt:
    """Depth-first search in a tree of turns.

    Attributes:
        width: most children of a node.
        depth: most turns from the root to a leaf.
        answers: number of answers that end the search; the first is handed in.
        ranking: make all children of a node first, and visit them in the order that the model prefers.
        back_after_give_up: nodes to climb from a turn that gave up; 1 tries its siblings next, 2
            abandons the node above it.
        back_after_answer: nodes to climb from an answer when more are needed.
        system_prompt: file with a system prompt, in place of ``SYSTEM_PROMPT``.
    """

    width: int = 2
    depth: int = 12
    answers: int = 1
    ranking: bool = False
    back_after_give_up: int = 2
    back_after_answer: int = 2
    system_prompt: Path | None = None

    name: ClassVar[str] = "dfsdt"
    model_use: ClassVar[ModelUse] = "required"
    budget: ClassVar[Budget] = Budget(max_model_calls=200)

    def settings(self) -> dict[str, Any]:
        """The settings of the search, and its prompts."""
        return asdict(self) | {"system_prompt": self._prompt, "diversity_prompt": DIVERSITY_PROMPT}

    @cached_property
    def _prompt(self) -> str:
        return read_prompt(self.system_prompt) if self.system_prompt else SYSTEM_PROMPT

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Search until there are enough answers, nothing is left to try, or a limit is reached."""
        tree = Tree()
        root = tree.add_all(
            None, [Message(role="system", content=self._prompt), Message(role="user", content=task.text)]
        )
        search = Search(self, task, environment, tree)
        try:
            await search.explore(root, 0)
            stop = search.stop
        except BudgetSpent as spent:
            stop = spent.reason
        place = search.answered[0] if search.answered else search.last
        return Outcome(
            StopReason.ANSWERED if search.answered else stop,
            final_answer=search.texts[0] if search.answered else "",
            messages=tree.messages(place),
            steps=tree.steps(place),
            tree=tree.nodes,
        )


class Search:
    """One search: its tree, and the answers in it."""

    def __init__(self, settings: Dfsdt, task: Task, environment: Environment, tree: Tree) -> None:
        self._settings = settings
        self._task = task
        self._environment = environment
        self._tree = tree
        self._ends: dict[int, list[int]] = {}  # node → the last nodes of the turns below it
        self.answered: list[int] = []
        self.texts: list[str] = []
        self.last = 0
        """The node that was added last."""
        self.stop = StopReason.NO_FINISH
        """Why the search ended without an answer: the model gave up, the depth was reached, or it stopped calling."""

    async def explore(self, node: int, depth: int) -> Back | SearchEnded:
        """Make the children of a node, which is ``depth`` turns below the root, and visit them."""
        ranking, width = self._settings.ranking, self._settings.width
        ranked = await self._ranked_children(node) if ranking else []
        for number in range(len(ranked) if ranking else width):
            child = ranked[number] if ranking else await self._expand(node)
            if child is None:
                return Back(1)
            after = await self._visit(child, depth + 1)
            if isinstance(after, SearchEnded):
                return after
            if after.levels > 1:  # the search leaves this node before all its children were tried
                self._tree.prune(node, after.why)
                return Back(after.levels - 1, after.why)
        return Back(1)

    async def _visit(self, child: Child, depth: int) -> Back | SearchEnded:
        """Continue from a child, or go back from it."""
        settings = self._settings
        if child.answer is not None:
            self.answered.append(child.end)
            self.texts.append(child.answer)
            enough = len(self.answered) >= settings.answers
            return SearchEnded() if enough else Back(settings.back_after_answer, LEFT)
        if child.gave_up:
            self.stop = StopReason.GAVE_UP
            return Back(settings.back_after_give_up, ABANDONED)
        if depth >= settings.depth:
            if self.stop is StopReason.NO_FINISH:
                self.stop = StopReason.MAX_STEPS
            self._tree.prune(child.end, TOO_DEEP)
            return Back(1)
        return await self.explore(child.end, depth)

    async def _expand(self, node: int) -> Child | None:
        """Let the model make one turn from a node; None where it refuses the conversation."""
        self._environment.begin_step()
        messages = list(self._tree.messages(node))
        former = self._ends.setdefault(node, [])
        if former:
            turns = [describe_calls(self._tree.path(end, below=node)) for end in former]
            listed = "\n".join(f"{number}. {turn}" for number, turn in enumerate(turns, 1))
            messages.append(Message(role="user", content=DIVERSITY_PROMPT.format(former=listed)))
        try:
            reply = await self._environment.ask(
                messages, functions=self._environment.functions.schemas, variant=len(former)
            )
        except RequestRefusedError as problem:
            if not any(self._ends.values()):  # it refuses everything, which says nothing about the search
                raise
            self._tree.prune(node, f"{REFUSED}: {problem.message}")
            return None
        turn = await perform_calls(reply, self._environment)
        self.last = end = self._tree.add_turn(node, turn)
        former.append(end)
        if turn.spent:
            raise turn.spent
        if turn.finished is None:
            return Child(end)
        if turn.finished.stop is StopReason.GAVE_UP:
            self._tree.prune(end, GAVE_UP)
            return Child(end, gave_up=True)
        self._tree.mark_final(end)
        return Child(end, answer=turn.finished.final_answer)

    async def _ranked_children(self, node: int) -> list[Child]:
        """All children of a node in the order of their visit: answers, then open ones by rank, then those that gave up."""
        children: list[Child] = []
        for _ in range(self._settings.width):
            child = await self._expand(node)
            if child is None:
                break
            children.append(child)
            answers = len(self.answered) + sum(child.answer is not None for child in children)
            if answers >= self._settings.answers:
                break
        is_open = [child for child in children if child.is_open]
        if len(is_open) > 1 and not any(child.answer is not None for child in children):
            so_far = describe_calls(self._tree.path(node))
            candidates = [describe_calls(self._tree.path(child.end, below=node)) for child in is_open]
            order = await rank_candidates(self._task.text, so_far, candidates, self._environment)
            is_open = [is_open[number] for number in order]
        answers_first = [child for child in children if child.answer is not None]
        leaves_last = [child for child in children if child.gave_up]
        return [*answers_first, *is_open, *leaves_last]


def describe_calls(nodes: Sequence[Node]) -> str:
    """The calls of some nodes and what they returned, as text for the model."""
    lines = []
    for node in nodes:
        if node.step:
            seen = f" → {node.step.observation[:_LONGEST_FORMER]}" if node.step.observation else ""
            lines.append(f"{node.step.function}({node.step.arguments}){seen}")
        elif node.message and node.message.role == "assistant" and not node.message.tool_calls:
            lines.append((node.message.content or "(nothing)")[:_LONGEST_FORMER])
    return "; ".join(lines) or "(nothing yet)"
