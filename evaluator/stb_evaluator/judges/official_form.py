"""Evaluators in the official form, from the user's own copy: ``config.yaml`` and ``template.txt``.

``template.txt`` holds blocks ``<function><name>…</name><description>…</description></function>``: the
description is the prompt, with places such as ``{query}``; ``config.yaml`` holds the JSON Schema of each
function under ``completions_kwargs.functions`` (ToolBench, arXiv:2307.16789, appendix A.5). Such a judge
asks in the words of the published code, without the markers that our own rubrics put around quoted material,
and shows of an answer the same bytes. Our requests also have a seed, so that a round can be asked again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stb_core.errors import FormatError, ModelError, NotFoundError, RequestRefusedError, UnreadableReplyError
from stb_core.json_text import replace_surrogates
from stb_core.llm import Model, Repeats, Reply, Request, without_thinking
from stb_core.usage import Usage
from stb_core.values import FunctionSchema, Judgement, Message, Status, Trajectory
from stb_evaluator.formats import published_answer
from stb_evaluator.judges.ask import REFUSED, SEEDS_PER_ROUND, refusal_of
from stb_evaluator.judges.judge import AskingJudge, Case, paid_before
from stb_evaluator.judges.pairs import Pair, final_text
from stb_evaluator.judges.replies import VERDICTS, plain_word, read_object

ANSWER, TRAJECTORY, BETTER, SOLVABLE = (
    "check_answer_status",
    "parse_answer_status",
    "select_better_answer",
    "check_task_solvable",
)

_FORM = "answers byte for byte"
"""How answers are shown; another word for it makes another rubric."""

# The newer name of ``max_tokens``. Endpoints that take no other name it in their refusal.
_NEWER_LIMIT = "max_completion_tokens"

_FUNCTION = re.compile(r"<function>(.*?)</function>", re.DOTALL)
_NAME = re.compile(r"<name>(.*?)</name>", re.DOTALL)
_DESCRIPTION = re.compile(r"<description>(.*?)</description>", re.DOTALL)
_PLACE = re.compile(r"\{(\w+)\}")
_STATUSES = {status.value: status for status in VERDICTS}


@dataclass(frozen=True)
class Evaluator:
    """One evaluator folder; ``hash`` covers the bytes of both files."""

    name: str
    functions: Mapping[str, FunctionSchema]
    templates: Mapping[str, str]
    temperature: float | None
    max_tokens: int | None
    hash: str

    def request(self, function: str, seed: int, *, with_reason: bool, **values: str) -> Request:
        """The request that calls one function; ``with_reason`` asks for its reason, too.

        Raises:
            FormatError: the evaluator has no such function.
        """
        if function not in self.functions or function not in self.templates:
            raise FormatError(
                f"The evaluator {self.name!r} has no function {function}.",
                hint="Use an evaluator that has it.",
            )
        text = _PLACE.sub(lambda found: values.get(found[1], found[0]), self.templates[function])
        return Request(
            messages=(Message(role="user", content=text),),
            functions=(_asking_why(self.functions[function]) if with_reason else self.functions[function],),
            tool_choice=function,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            older_limit=True,
            seed=seed,
        )


def load_evaluator(folder: Path) -> Evaluator:
    """Read an evaluator folder.

    Raises:
        NotFoundError: the folder has no evaluator.
        FormatError: its files are not in the official form.
    """
    if not (folder / "config.yaml").is_file():
        raise NotFoundError(
            f"There is no evaluator in {folder}.", hint="Give a folder that holds config.yaml and a template."
        )
    try:
        config_bytes = (folder / "config.yaml").read_bytes()
        config = yaml.safe_load(config_bytes)
        template_bytes = (folder / str(config["prompt_template"])).read_bytes()
        settings = config["completions_kwargs"]
        functions = {
            one["name"]: FunctionSchema(
                name=one["name"], description=one.get("description") or "", parameters=one["parameters"]
            )
            for one in settings["functions"]
        }
        temperature, max_tokens = settings.get("temperature"), settings.get("max_tokens")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValidationError) as problem:
        reason = " ".join(str(problem).split())[:100]
        raise FormatError(f"{folder} is not an evaluator in the official form ({reason}).") from None
    return Evaluator(
        name=str(config.get("evaluator_name") or folder.name),
        functions=functions,
        templates=_templates(template_bytes.decode("utf-8", "replace")),
        temperature=temperature if isinstance(temperature, int | float) else None,
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        hash=hashlib.sha256(config_bytes + b"\0" + template_bytes).hexdigest(),
    )


def _asking_why(function: FunctionSchema) -> FunctionSchema:
    """A function that also takes the reason, as the published code adds it."""
    properties = {
        **function.parameters.get("properties", {}),
        "reason": {"type": "string", "description": "explain your answer."},
    }
    required = [*function.parameters.get("required", []), "reason"]
    parameters = {**function.parameters, "properties": properties, "required": required}
    return function.model_copy(update={"parameters": parameters})


def _templates(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for block in _FUNCTION.findall(text):
        name, description = _NAME.search(block), _DESCRIPTION.search(block)
        if name and description:
            found[name[1].strip()] = description[1]
    return found


class OfficialJudge(AskingJudge):
    """Judges answers by an evaluator folder; a reply is read as everywhere."""

    _gives_reason = True
    """Whether the judge is asked why an answer is solved or not."""

    def __init__(self, model: Model, evaluator: Evaluator) -> None:
        super().__init__(model)
        self._evaluator = evaluator
        self._has_newer_limit = False

    @property
    def rubric(self) -> str:
        """SHA-256 of the evaluator's files and of how answers are shown."""
        return _hash(f"{self._evaluator.hash}:{_FORM}")

    @property
    def temperature(self) -> float | None:
        """That of the evaluator's settings."""
        return self._evaluator.temperature

    async def judge(self, case: Case, number: int) -> Judgement:
        """Ask about the final answer; if unsure, about the whole answer in its converted form."""
        trajectory = case.trajectory
        answer = self._shown(trajectory)
        found = await self._ask_status(ANSWER, trajectory, answer["final_answer"], number)
        if found.status is not Status.UNSURE:
            return found
        whole = json.dumps(answer)
        with paid_before(found.usage):
            again = await self._ask_status(TRAJECTORY, trajectory, whole, number)
        return replace(again, raw=found.raw + again.raw, usage=found.usage + again.usage)

    async def _ask_status(self, function: str, trajectory: Trajectory, answer: str, number: int) -> Judgement:
        values = {"query": trajectory.query, "answer": answer}
        return await self._ask(
            function, "answer_status", _STATUSES, number, values, with_reason=self._gives_reason
        )

    def _shown(self, trajectory: Trajectory) -> dict[str, Any]:
        """An answer as this judge sees it."""
        return published_answer(trajectory)

    async def _ask(
        self,
        function: str,
        field: str,
        words: Mapping[Any, Status],
        number: int,
        values: Mapping[str, str],
        *,
        with_reason: bool,
    ) -> Judgement:
        said: list[str] = []
        usage, problem = Usage(), ""
        seed = number * SEEDS_PER_ROUND
        repeats = Repeats(self._evaluator.request(function, seed, with_reason=with_reason, **values))
        while (request := repeats.request) is not None:
            try:
                reply = await self._complete(request)
            except RequestRefusedError as error:
                total = usage + (error.usage or Usage())
                return Judgement(
                    Status.ERROR, error.message, tuple(said), total, {REFUSED: refusal_of(error)}
                )
            except ModelError as error:
                error.add_usage(usage)
                raise
            usage += reply.usage
            said.append(replace_surrogates(_arguments(reply)))
            try:
                return Judgement(_status_in(reply, field, words), "", tuple(said), usage)
            except UnreadableReplyError as error:
                problem = error.message
            repeats.count_unusable(reply)
        return Judgement(Status.ERROR, problem, tuple(said), usage)

    async def _complete(self, request: Request) -> Reply:
        """Ask, with the limit on tokens under the name that the endpoint takes."""
        if not self._has_newer_limit:
            try:
                return await self._model.complete(request)
            except ModelError as error:
                if _NEWER_LIMIT not in error.message:
                    raise
                self._has_newer_limit = True
        return await self._model.complete(request.model_copy(update={"older_limit": False}))


class OfficialPairJudge(OfficialJudge):
    """Compares two answers by an evaluator folder, and judges one of a pair as a comparison shows it.

    As in the published code, the judge does not see which method found an answer. ``limit`` is the largest
    length of a final answer, in characters.
    """

    _gives_reason = False

    def __init__(self, model: Model, evaluator: Evaluator, *, limit: int | None = None) -> None:
        super().__init__(model, evaluator)
        self._limit = limit

    @property
    def rubric(self) -> str:
        """SHA-256 of the evaluator's files and of how answers are shown."""
        return _hash(f"{self._evaluator.hash}:{_FORM}, pairs without method, cut {self._limit}")

    async def prefer(self, pair: Pair, number: int) -> Judgement:
        """Which of two converted answers is better; the official form knows no tie."""
        answers = [
            json.dumps(self._shown(t)) if t is not None else final_text(t) for t in (pair.first, pair.second)
        ]
        values = {"query": pair.text, "answer_0": answers[0], "answer_1": answers[1]}
        indexes = {0: Status.SOLVED, 1: Status.UNSOLVED}
        return await self._ask(BETTER, "index", indexes, number, values, with_reason=True)

    def _shown(self, trajectory: Trajectory) -> dict[str, Any]:
        answer = super()._shown(trajectory)
        answer.pop("method", None)
        return {**answer, "final_answer": answer["final_answer"][: self._limit]}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _status_in(reply: Reply, field: str, words: Mapping[Any, Status]) -> Status:
    value = read_object(_arguments(reply)).get(field)
    value = plain_word(value) if isinstance(value, str) else value
    if isinstance(value, bool | list | dict) or value not in words:
        raise UnreadableReplyError("The judge's reply is not one of those asked for.")
    return words[value]


def _arguments(reply: Reply) -> str:
    """The arguments of the call, or the words in its place, without what the model thought before."""
    return reply.tool_calls[0].arguments if reply.tool_calls else without_thinking(reply.content or "")
