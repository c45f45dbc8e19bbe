"""One trajectory as lines for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from stb_core.values import FINISH, Node, Step, Trajectory, Verdict
from stb_core.values.trajectories import ANSWER_SOURCES
from stb_core.values.verdicts import COPY_OF_ROUND
from stb_evaluator.judges import shorten

_OBSERVATION = 400
_WORDS = 3
"""Replies without a call that are shown unless all are asked for: the last ones."""
# To lay out megabytes for the terminal takes minutes.
_ANSWER = 20_000


def draw_trajectory(trajectory: Trajectory, verdicts: Sequence[Verdict], *, full: bool = False) -> list[Text]:
    """Query, calls, search tree if there is one, answer and verdicts."""
    head = f"{trajectory.group}/{trajectory.query_id}, trial {trajectory.trial}, {trajectory.agent}"
    lines = [Text(head, style="bold"), _labelled("Query", trajectory.query), Text()]
    for number, step in enumerate(trajectory.steps, start=1):
        lines += _draw_step(number, step, full=full)
    if trajectory.tree:
        lines += [Text(), Text(f"Search tree, {len(trajectory.tree)} nodes:", style="bold")]
        lines += _draw_tree(trajectory.tree)
    lines += [Text(), _labelled("Stopped", trajectory.stop.value)]
    lines += _draw_words(trajectory, full=full)
    if trajectory.error:
        lines.append(_labelled("Error", trajectory.error))
    answer = trajectory.final_answer or "(none)"
    lines.append(_labelled("Final answer", answer if full else shorten(answer, _ANSWER)))
    if trajectory.answer_source:
        lines.append(Text(f"({ANSWER_SOURCES[trajectory.answer_source]})", style="dim"))
    usage = trajectory.usage
    if usage.model_calls:
        cost = "" if usage.cost_usd is None else f", {usage.cost_usd:.4f} USD"
        lines.append(_labelled("Used", f"{usage.model_calls} model calls, {usage.total_tokens} tokens{cost}"))
    return lines + [_draw_verdict(verdict) for verdict in verdicts]


def _draw_words(trajectory: Trajectory, *, full: bool) -> list[Text]:
    """What the model wrote in place of calls, where it gave no answer, and how its replies ended."""
    if trajectory.finished:
        return []
    words = [
        m.content or "(nothing)" for m in trajectory.messages if m.role == "assistant" and not m.tool_calls
    ]
    shown = words if full else words[-_WORDS:]
    lines = [_said("The model wrote", text, full=full) for text in shown]
    if len(words) > len(shown):
        lines.insert(
            0, Text(f"({len(words) - len(shown)} earlier replies without a call: --full)", style="dim")
        )
    thoughts = [call.thoughts for call in trajectory.timing.model_calls if call.thoughts]
    lines += [_said("The model thought", text, full=full) for text in (thoughts if full else thoughts[-1:])]
    ends = Counter(call.finish_reason for call in trajectory.timing.model_calls if call.finish_reason)
    for reason, count in sorted(ends.items()):
        meaning = "reached the limit on tokens" if reason == "length" else f"ended by {reason}"
        lines.append(_labelled("Replies", f"{count} of {len(trajectory.timing.model_calls)} {meaning}"))
    return lines


def _said(label: str, text: str, *, full: bool) -> Text:
    return _labelled(label, text if full else shorten(" ".join(text.split()), _OBSERVATION))


def _labelled(label: str, text: str) -> Text:
    return Text.assemble((f"{label}: ", "bold"), text)


def _draw_step(number: int, step: Step, *, full: bool) -> list[Text]:
    marks = [
        *(["not offered"] if step.hallucinated else []),
        *([step.provenance] if step.provenance else []),
        *(["cut"] if step.truncated else []),
    ]
    arguments = " ".join(step.arguments.split())
    shown = arguments if full else shorten(arguments, _OBSERVATION)
    if step.function == FINISH:
        return [Text.assemble((f"{number}. {FINISH} ", "cyan"), shown)]
    title = Text.assemble((f"{number}. {step.function} ", "cyan"), shown)
    if marks:
        title.append(f"  [{', '.join(marks)}]", style="dim")
    seen = " ".join(step.observation.split())
    style = "red" if step.error else ""
    return [title, Text(f"   -> {seen if full else shorten(seen, _OBSERVATION)}", style=style)]


def _draw_tree(nodes: Sequence[Node]) -> list[Text]:
    """One line a node, indented by depth; a node follows its parent."""
    children: dict[int | None, list[int]] = {}
    for index, node in enumerate(nodes):
        children.setdefault(node.parent, []).append(index)
    lines: list[Text] = []
    waiting = [(index, 0) for index in reversed(children.get(None, []))]
    while waiting:
        index, depth = waiting.pop()
        lines.append(_draw_node(nodes[index], depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(index, []))]
    return lines


def _draw_node(node: Node, depth: int) -> Text:
    words = f"{node.step.function} {node.step.arguments}" if node.step else ""
    if node.message:
        words = node.message.content or words
    mark = "*" if node.final else "x" if node.pruned else "-"
    style = "green" if node.final else "dim" if node.pruned else ""
    return Text(f"{'  ' * min(depth, 30)}{mark} {' '.join(words.split())[:100]}", style=style)


def _draw_verdict(verdict: Verdict) -> Text:
    words = f"{verdict.status.value}{f': {verdict.reason}' if verdict.reason else ''}"
    origin = f", from {verdict.source}{' (foreign: not counted)' if verdict.is_foreign else ''}"
    copied = (
        f", a copy of round {(verdict.details or {})[COPY_OF_ROUND]}: not asked" if verdict.is_copy else ""
    )
    from_where = origin if verdict.source else ""
    return _labelled(f"Verdict of {verdict.judge}, round {verdict.round}{copied}{from_where}", words)
