"""A trajectory: everything an agent did on one query, in a versioned format.

The content (messages, steps, tree, stop reason, answer) is what the same agent would produce
again; wall-clock measurements are kept apart in ``timing`` and are not part of ``content_hash``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stb_core.json_text import replace_surrogates
from stb_core.usage import Usage
from stb_core.values.calls import content_hash
from stb_core.values.provenance import NOT_STATED

FORMAT = "stabletoolbench-trajectory/1"
FINISH = "Finish"


Text = Annotated[str, AfterValidator(replace_surrogates)]
"""Text that an agent wrote, whatever it is."""


AnswerSource: TypeAlias = Literal["", "text", "function"]
"""What an answer was taken from: "" a call of ``Finish`` (or what a format of others takes for it), ``text`` the last
words of the agent's model, ``function`` its call of a function of the agent's own."""

ANSWER_SOURCES = {
    "text": "taken from the last words of its model",
    "function": "taken from its model's call of the agent's own function",
}
"""The sources besides ``Finish``, in words."""


TrialPlace: TypeAlias = tuple[str, str, int]
"""Which trial of a run: (group, query id, number of the trial)."""


class StopReason(StrEnum):
    """Why an agent stopped on a query."""

    ANSWERED = "answered"
    """It called ``Finish`` with ``give_answer``, or its answer was taken from what its model said."""
    GAVE_UP = "gave_up"
    """It called ``Finish`` with ``give_up_and_restart`` and had no further try."""
    NO_FINISH = "no_finish"
    """It ended without calling ``Finish``."""
    MAX_STEPS = "max_steps"
    MAX_MODEL_CALLS = "max_model_calls"
    MAX_TOOL_CALLS = "max_tool_calls"
    MAX_TOKENS = "max_tokens"
    MAX_SECONDS = "max_seconds"
    MAX_COST = "max_cost"
    MAX_REPEATS = "max_repeats"
    """The same call failed too often."""
    EXPIRED = "expired"
    """It came over HTTP and was not heard of for longer than its server waits."""
    CONTEXT_EXCEEDED = "context_exceeded"
    """Its conversation was longer than the model's context; other requests of the run were accepted."""
    CONTENT_FILTER = "content_filter"
    """A filter of the model's endpoint blocked its conversation; other requests were accepted."""
    REQUEST_REFUSED = "request_refused"
    """The model's endpoint refused its conversation for another reason; other requests were accepted."""
    REPLY_CUT = "reply_cut"
    """Its model's last reply reached the limit on tokens before it called a function, and it ended without ``Finish``."""
    AGENT_ERROR = "agent_error"
    """The agent's own code failed, or its model said something unusable to the end."""
    INFRASTRUCTURE = "infrastructure"
    """Our server failed, or the model's endpoint did or accepts no request of the kind: retried, counted,
    shown, never scored as 0."""


class FunctionCall(BaseModel):
    """A model's request to call a function; ``arguments`` is its text, verbatim.

    ``is_older_form`` says that it was written as ``function_call``, before there was ``tool_calls``.
    """

    model_config = ConfigDict(frozen=True)

    id: Text
    name: Text
    arguments: Text
    # Younger than the format: left out where false, so that older bundles stay the same bytes.
    is_older_form: bool = Field(default=False, exclude_if=lambda older: not older)


class Message(BaseModel):
    """One message of the conversation, in the shape of OpenAI's chat format."""

    model_config = ConfigDict(frozen=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: tuple[FunctionCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def with_surrogates_replaced(self) -> Self:
        """The same without halves of surrogate pairs: a model may be sent them, a trajectory has none."""
        texts = {"content": self.content, "tool_call_id": self.tool_call_id, "name": self.name}
        if "".join(filter(None, texts.values())).isascii():  # nearly all, and there are very many
            return self
        return self.model_copy(
            update={name: replace_surrogates(text) for name, text in texts.items() if text}
        )


StoredMessage = Annotated[Message, AfterValidator(Message.with_surrogates_replaced)]


class Step(BaseModel):
    """One function call of the agent and what it saw in return.

    ``category``, ``tool`` and ``api`` are None for ``Finish`` and for a name that the agent was
    not offered (``hallucinated``). ``observation`` is the text the agent was shown.
    """

    model_config = ConfigDict(frozen=True)

    function: Text
    arguments: Text
    observation: Text = ""
    category: str | None = None
    tool: str | None = None
    api: str | None = None
    key: str | None = None
    provenance: str | None = None
    error: Text = ""
    hallucinated: bool = False
    truncated: bool = False


class Node(BaseModel):
    """One node of a search tree; ``parent`` is the index of another node, None at the root."""

    model_config = ConfigDict(frozen=True)

    parent: int | None
    message: StoredMessage | None = None
    step: Step | None = None
    pruned: Text = ""
    final: bool = False


class ModelCall(BaseModel):
    """One question to the model: how long it took, and what it consumed."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = Field(default="", exclude_if=lambda reason: not reason)
    """Why the reply ended where that is unusual, such as ``length``; "" where the model ended it itself."""
    thoughts: Text = Field(default="", exclude_if=lambda thoughts: not thoughts)
    """The beginning of what the model thought before, where its server keeps that apart from the reply."""


class Timing(BaseModel):
    """Wall-clock measurements, in seconds; they differ from run to run."""

    model_config = ConfigDict(frozen=True)

    seconds: float = 0.0
    model_seconds: float = 0.0
    tool_seconds: float = 0.0
    tool_calls: tuple[float, ...] = ()
    """Of each call but ``Finish``, in order, a search's abandoned ones included; empty if not measured."""
    model_calls: tuple[ModelCall, ...] = ()
    """Each question to the model that was answered, in order; empty if not measured."""


class Trajectory(BaseModel):
    """What one agent did on one query in one trial.

    ``steps`` is the path that led to the answer, in order; a search keeps all else in ``tree``.
    ``simulator_usage`` is what the server's simulator consumed for its calls, None where that is not known;
    another time the same answers may come from the cache. ``imported`` holds what a foreign format said
    and ours has no field for.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["stabletoolbench-trajectory/1"] = "stabletoolbench-trajectory/1"
    group: str
    query_id: str
    query: str
    trial: int = Field(default=0, ge=0)
    agent: str
    model: str | None = None
    available_tools: tuple[str, ...] = ()
    messages: tuple[StoredMessage, ...] = ()
    steps: tuple[Step, ...] = ()
    tree: tuple[Node, ...] | None = None
    stop: StopReason
    final_answer: Text = ""
    # Younger than the format: left out where empty, so that older bundles stay the same bytes.
    answer_source: AnswerSource = Field(default="", exclude_if=lambda source: not source)
    usage: Usage = Usage()
    # Younger than the format: left out where unknown, so that older bundles stay the same bytes.
    simulator_usage: Usage | None = Field(default=None, exclude_if=lambda usage: usage is None)
    timing: Timing = Timing()
    error: Text = ""
    imported: dict[str, Any] | None = None

    def content(self) -> dict[str, Any]:
        """The JSON form without measurements of time, and without what a simulator happened to consume."""
        return self.model_dump(mode="json", exclude={"timing", "simulator_usage"})

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON of ``content``."""
        return content_hash(self.content())

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """Every call in the order in which it was made, those of a search's abandoned branches included."""
        return tuple(node.step for node in self.tree or () if node.step) or self.steps

    @property
    def finished(self) -> bool:
        """Whether an answer was given: the last call is ``Finish`` with ``give_answer``."""
        return self.stop is StopReason.ANSWERED

    @property
    def answer_hash(self) -> str:
        """SHA-256 of what a verdict rests on: query, answer, calls and observations.

        Two trajectories with the same hash deserve the same verdict. Empty when there is nothing
        to judge: no answer was given, or a blank one.
        """
        if not self.finished or not self.final_answer.strip():
            return ""
        steps = [[step.function, step.arguments, step.observation] for step in self.steps]
        return content_hash([self.query, self.final_answer, steps])


def conversation(text: str, steps: Sequence[Step]) -> tuple[Message, ...]:
    """A conversation made from the steps of an agent that has none, as a model would have had it."""
    messages = [Message(role="user", content=text)]
    for number, step in enumerate(steps, 1):
        call = FunctionCall(id=f"call{number:05d}", name=step.function, arguments=step.arguments)
        messages.append(Message(role="assistant", tool_calls=(call,)))
        if step.function != FINISH or step.observation:
            messages.append(
                Message(role="tool", content=step.observation, tool_call_id=call.id, name=step.function)
            )
    return tuple(messages)


def made_calls(trajectory: Mapping[str, Any]) -> list[Any]:
    """The steps in which an agent called a function other than ``Finish``.

    Those of a search's abandoned branches are among them. Every table and page counts calls by this.

    Args:
        trajectory: in its JSON form.
    """
    nodes = [step for node in trajectory.get("tree") or () if (step := node.get("step"))]
    return [step for step in nodes or trajectory["steps"] if step["function"] != FINISH]


def count_provenances(trajectory: Mapping[str, Any]) -> Counter[str]:
    """How many calls each provenance answered, those of a search's abandoned branches included.

    A call that asked no API counts nowhere: its function is unknown, or its arguments cannot be read. A call
    of which nobody knows what answered it counts as ``NOT_STATED``.

    Args:
        trajectory: in its JSON form.
    """
    is_imported = trajectory.get("imported") is not None
    return Counter(
        step["provenance"] or NOT_STATED
        for step in made_calls(trajectory)
        if step["provenance"] or _asked(step, is_imported)
    )


def _asked(step: Mapping[str, Any], is_imported: bool) -> bool:
    """Whether a call whose provenance is not stated may have been answered by an API."""
    return not step["hallucinated"] and (is_imported or bool(step["key"]) or not step["error"])
