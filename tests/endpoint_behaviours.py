"""How endpoints of models behave when something is off, and what comes of it in each role; one table.

``BEHAVIOURS`` are scripted answers over real HTTP. ``observe`` lets one of them happen to the built-in agents, to
a remote agent that asks its model over the server's proxy, to a judge and to a simulator, and says what
came of it. ``docs/endpoint-behaviours.md`` is written from that, and a test holds it:

    python tests/endpoint_behaviours.py         writes the page anew
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

import agent_world as world
import stb_core.llm
import virtual_server
from llm_server import Answer, LLMServer, raw, sample, status, text
from stb_agents.runs import run as run_module
from stb_agents.runs.request import RunRequest
from stb_agents.runs.run import RunOutcome, run_agent
from stb_core.llm.protocol import Endpoint
from stb_core.llm.retries import Patience
from stb_core.settings import Settings
from stb_core.store import Store, open_store
from stb_core.values.provenance import CacheMode
from stb_core.values.trajectories import FINISH, Step, StopReason, Trajectory
from stb_evaluator.judges import opening
from stb_evaluator.scores.headlines import run_headlines
from stb_evaluator.scores.pass_verdicts import judge_run
from stb_evaluator.scores.rows import score_rows
from stb_evaluator.scores.run_reader import RunReader
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.options import ServerOptions

Json = dict[str, Any]
ROLES = ("cot", "dfsdt", "react", "remote", "judge", "simulator")
PAGE = Path(__file__).parent.parent / "docs" / "endpoint-behaviours.md"
OFF = "Osterby"
"""The city of the query to which a behaviour happens that is not that of every request."""

# Enough for an endpoint that is well, however busy the machine is.
_PATIENT = Patience(first_wait_s=0.001, longest_wait_s=0.01)
# For an endpoint that is never well again: only how soon that is noticed.
_HASTY = Patience(deadline_s=0.3, read_timeout_s=0.3, first_wait_s=0.001, longest_wait_s=0.01)


@dataclass(frozen=True)
class EndpointBehaviour:
    """One way to behave.

    Attributes:
        name: for the page.
        answer: makes the answer to a request.
        always: it happens to every request, and not only to those about ``OFF``.
        is_usable: the reply can be used, or is at least the model's own doing.
        has_words: an agent may take the reply for its answer, which is then judged.
        is_lasting: it fails until the deadline.
    """

    name: str
    answer: Callable[[Json], Answer]
    always: bool = True
    is_usable: bool = False
    has_words: bool = False
    is_lasting: bool = False

    def rule(self, body: Json) -> Answer:
        """The answer of the scripted server."""
        return self.answer(body) if self.always or OFF in json.dumps(body) else healthy(body)


def finish_call() -> Json:
    """A call of ``Finish`` with an answer."""
    given = {"return_type": "give_answer", "final_answer": "The Arms."}
    return {"id": "c", "type": "function", "function": {"name": FINISH, "arguments": json.dumps(given)}}


def healthy(body: Json) -> Answer:
    """What a good endpoint answers: a call, an action in words, or JSON of the schema."""
    if bad := _refused_history(body):
        return bad
    if form := body.get("response_format"):
        return text(json.dumps(_object(form)))
    if body.get("tools"):
        return Answer({"role": "assistant", "content": None, "tool_calls": [finish_call()]})
    return text(f"Thought: done\nAction: Finish\nAction Input: {finish_call()['function']['arguments']}")


def _object(form: Json) -> Any:
    return sample(form["json_schema"]["schema"], "solved") if form["type"] == "json_schema" else {"answer": 1}


def _refused_history(body: Json) -> Answer | None:
    """As strict servers do, refuse a history whose calls are not legal."""
    for message in body.get("messages", ()):
        made = [one["function"] for one in message.get("tool_calls") or ()]
        for function in [*made, *([message["function_call"]] if "function_call" in message else [])]:
            if not function["name"].replace("_", "").replace("-", "").isalnum():
                return status(400, f"Invalid function name {function['name']!r}")
            if not function["arguments"].startswith("{"):
                return status(400, "Expecting value: line 1 column 1 (char 0)")
    return None


def _said(content: str | None, **more: Any) -> Callable[[Json], Answer]:
    """Always these words, whatever was asked for."""
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    return lambda _: Answer(message, **more)


def _body(document: Any) -> Callable[[Json], Answer]:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return lambda _: raw(content)


def _error(http: int, message: str, **more: Any) -> Callable[[Json], Answer]:
    answer = status(http, message)
    if more:
        answer = replace(answer, body=json.dumps({"error": {"message": message, **more}}).encode())
    return lambda _: answer


def _first(call: Json, in_words: str) -> Callable[[Json], Answer]:
    """One odd call, in the form that was asked for; then all is well."""

    def answer(body: Json) -> Answer:
        told = any(
            m["role"] in {"tool", "function"} or "Observation" in str(m.get("content"))
            for m in body["messages"][2:]
        )
        if told or body.get("response_format"):
            return healthy(body)
        if not body.get("tools"):
            return text(in_words)
        return Answer({"role": "assistant", "content": None, **call})

    return answer


def _calling(name: str, arguments: Any) -> Callable[[Json], Answer]:
    function = {"name": name, "arguments": arguments}
    in_words = f"Thought: look\nAction: {name}\nAction Input: {arguments or ''}"
    return _first({"tool_calls": [{"id": "c", "type": "function", "function": function}]}, in_words)


def _torn(body: Json) -> Answer:
    """Every reply is cut in its middle."""
    if body.get("response_format"):
        return text('{"reason": "It is', finish_reason="length")
    if not body.get("tools"):
        return text(
            'Thought: look\nAction: search_for_inns\nAction Input: {"city": "Os', finish_reason="length"
        )
    function = {"name": "search_for_inns", "arguments": '{"city": "Os'}
    made = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }
    return Answer(made, finish_reason="length")


def _with(answer: Callable[[Json], Answer], **more: Any) -> Callable[[Json], Answer]:
    return lambda body: replace(answer(body), **more)


class InTurn:
    """Answers one after the other: from the start again after the last, or the last for ever."""

    def __init__(self, *answers: Callable[[Json], Answer], again: bool = True) -> None:
        self._answers, self._again = answers, again
        self._given = 0

    def begin(self) -> None:
        """Start with the first."""
        self._given = 0

    def __call__(self, body: Json) -> Answer:
        number = self._given
        self._given += 1
        return self._answers[
            number % len(self._answers) if self._again else min(number, len(self._answers) - 1)
        ](body)


def _without_functions(body: Json) -> Answer:
    """As vLLM without a tool-call parser: only requests with functions are refused."""
    return status(400, _AUTO) if body.get("tools") else text("ok")


_FORM = "function_call"
_TOO_LONG = "This model's maximum context length is 4096 tokens."
_FILTER = "The response was filtered due to the prompt triggering content management policy"
_AUTO = '"auto" tool choice requires --enable-auto-tool-choice'
_SEARCH = json.dumps({"city": "Velmora"})
_STREAM = b'data: {"error": {"message": "boom", "code": 500}}\n\n'
_CUT_JSON = '{"error": "", "response": {"a": [1,2,3'
_TWO_OBJECTS = '<think>I should say {"reason": "x", "answer_status": "unsolved"}</think>\n{"reason": "ok", "answer_status": "solved"}'
_AS_TEXT = '```json\n{"name": "search_for_inns", "arguments": {"city": "Velmora"}}\n```'

BEHAVIOURS = (
    EndpointBehaviour("400: no tool-call parser", _error(400, _AUTO)),
    EndpointBehaviour("400: to requests with functions", _without_functions, has_words=True),
    EndpointBehaviour("400: temperature is not supported", _error(400, "Unsupported value: 'temperature'")),
    EndpointBehaviour("400: invalid schema of a function", _error(400, "Invalid schema for function 'f'")),
    EndpointBehaviour("400: no such model", _error(400, "Model m is not found")),
    EndpointBehaviour("400: credit balance is too low", _error(400, "Your credit balance is too low.")),
    EndpointBehaviour("400: context too long, always", _error(400, _TOO_LONG)),
    EndpointBehaviour("400: context too long, of one query", _error(400, _TOO_LONG), always=False),
    EndpointBehaviour("400: content filter, always", _error(400, _FILTER)),
    EndpointBehaviour("400: content filter, of one query", _error(400, _FILTER), always=False),
    EndpointBehaviour("400: another reason, of one query", _error(400, "Invalid request"), always=False),
    EndpointBehaviour("401", _error(401, "Incorrect API key")),
    EndpointBehaviour("401, of one query", _error(401, "Incorrect API key"), always=False),
    EndpointBehaviour("402", _error(402, "Insufficient credits")),
    EndpointBehaviour("403", _error(403, "Key limit exceeded")),
    EndpointBehaviour("404: no such model", _error(404, "The model does not exist")),
    EndpointBehaviour("408", _error(408, "Request timeout"), is_lasting=True),
    EndpointBehaviour("413: too large, of one query", _error(413, "Request entity too large"), always=False),
    EndpointBehaviour("422: an unknown member", _error(422, "body.seed: extra fields not permitted")),
    EndpointBehaviour("429", _error(429, "Slow down"), is_lasting=True),
    EndpointBehaviour("429: quota is used up", _error(429, "No quota", code="insufficient_quota")),
    EndpointBehaviour("500", _error(500, "Internal error"), is_lasting=True),
    EndpointBehaviour("500: context too long, of one query", _error(500, _TOO_LONG), always=False),
    EndpointBehaviour("502: HTML", lambda _: raw(b"<html>Bad gateway</html>", 502), is_lasting=True),
    EndpointBehaviour("503", _error(503, "Overloaded"), is_lasting=True),
    EndpointBehaviour(
        "reset in the middle of the body", lambda _: Answer(body=b"{", drop=True), is_lasting=True
    ),
    EndpointBehaviour("no answer in time", lambda _: text("Late.", delay_s=600), is_lasting=True),
    EndpointBehaviour("200: HTML", _body(b"<html>Welcome</html>")),
    EndpointBehaviour(
        "200: an error object", _body({"error": {"message": "No endpoints found", "code": 404}})
    ),
    EndpointBehaviour(
        "200: an error within the choice", _body({"choices": [{"error": {"code": 404, "message": "gone"}}]})
    ),
    EndpointBehaviour("200: an error as a stream", _body(_STREAM)),
    EndpointBehaviour("200: no choices", _body({"choices": []})),
    EndpointBehaviour("200: choices are null", _body({"choices": None})),
    EndpointBehaviour("the filter takes the reply away, always", _said(None, finish_reason="content_filter")),
    EndpointBehaviour(
        "the filter takes the reply away, of one query",
        _said(None, finish_reason="content_filter"),
        always=False,
    ),
    EndpointBehaviour("empty content", _said("")),
    EndpointBehaviour("null content", _said(None)),
    EndpointBehaviour("empty content, cut by length", _said("", finish_reason="length")),
    EndpointBehaviour("thoughts only", _said(None, message={"reasoning_content": "Let me think."})),
    EndpointBehaviour(
        "thoughts only, cut by length", _said("<think>Let me", finish_reason="length"), has_words=True
    ),
    EndpointBehaviour(
        "thoughts kept apart, cut by length",
        _said(
            None,
            finish_reason="length",
            message={"reasoning_content": "Let me think.", "reasoning": "Let me"},
        ),
    ),
    EndpointBehaviour(
        "JSON behind thoughts with other JSON", _said(_TWO_OBJECTS), has_words=True, is_usable=True
    ),
    EndpointBehaviour("JSON, cut by length", _said(_CUT_JSON, finish_reason="length"), has_words=True),
    EndpointBehaviour("JSON that says nothing", _said('{"error":"","response":null}'), has_words=True),
    EndpointBehaviour(
        "one good reply, then cut JSON",
        InTurn(healthy, _said('{"reason": "cut', finish_reason="length"), again=False),
        has_words=True,
    ),
    EndpointBehaviour(
        "two cut replies, then 401, again and again",
        InTurn(*[_said(_CUT_JSON, finish_reason="length")] * 2, _error(401, "No credit")),
        has_words=True,
    ),
    EndpointBehaviour(
        "words, cut by length", _said("Let me look that", finish_reason="length"), has_words=True
    ),
    EndpointBehaviour(
        "declines (refusal)", _said(None, message={"refusal": "I cannot help with that."}), has_words=True
    ),
    EndpointBehaviour("words without a call", _said("It is sunny."), has_words=True),
    EndpointBehaviour("a call written as text", _said(_AS_TEXT), has_words=True),
    EndpointBehaviour("every call has torn arguments", _torn),
    EndpointBehaviour(
        "a call with torn arguments", _calling("search_for_inns", '{"city": "Os'), is_usable=True
    ),
    EndpointBehaviour("arguments are null", _calling("search_for_inns", None), is_usable=True),
    EndpointBehaviour('arguments are ""', _calling("search_for_inns", ""), is_usable=True),
    EndpointBehaviour('arguments are " "', _calling("search_for_inns", " "), is_usable=True),
    EndpointBehaviour(
        "the older form function_call",
        _first(
            {_FORM: {"name": "search_for_inns", "arguments": _SEARCH}},
            f"Action: search_for_inns\nAction Input: {_SEARCH}",
        ),
        is_usable=True,
    ),
    EndpointBehaviour("an unknown function", _calling("look_it_up", "{}"), is_usable=True),
    EndpointBehaviour("an odd name of a function", _calling("functions.look up", "{}"), is_usable=True),
    EndpointBehaviour(
        "another model answers", lambda body: healthy({**body, "model": "other"}), is_usable=True
    ),
    EndpointBehaviour("another content type", _with(healthy, content_type=b"text/plain"), is_usable=True),
    EndpointBehaviour(
        "token counts as fractions",
        _with(healthy, usage={"prompt_tokens": 7.0, "completion_tokens": "3"}),
        is_usable=True,
    ),
    EndpointBehaviour("no token counts", _with(healthy, usage=None), is_usable=True),
)


@dataclass(frozen=True)
class Observed:
    """What came of a behaviour in one role.

    Attributes:
        end: how it ended.
        exit_code: of the command.
        counts: whether the query counts in the score.
        headline: the first word of the first headline above the score.
        most_replies: most replies that were given to one question.
        given: tokens of all replies, as the endpoint counted them.
        recorded: tokens on record.
    """

    end: str
    exit_code: int
    counts: bool
    headline: str = ""
    most_replies: int = 0
    given: int = 0
    recorded: int = 0

    def __str__(self) -> str:
        told = f", {self.headline}" if self.headline else ""
        return f"`{self.end}`, {self.exit_code}, {'yes' if self.counts else 'no'}{told}"


async def observe(
    behaviour: EndpointBehaviour, store_url: str, llm: LLMServer, folder: Path
) -> list[Observed]:
    """What comes of a behaviour, in the order of ``ROLES``; the store must be empty."""
    llm.rule = behaviour.rule
    if isinstance(behaviour.answer, InTurn):
        behaviour.answer.begin()
    store = await open_store(store_url)
    try:
        dataset = await world.put_world(store)
        await store.responses.keep(dataset.id, [world.recorded(world.SEARCH, {"inns": []})])
        row = await _agents(behaviour, store, store_url, llm)
        row.append(await _judge(behaviour, store, store_url, llm))
        row.append(await _simulator(behaviour, store, store_url, llm, folder))
    finally:
        await store.close()
    return row


@contextmanager
def _patience_for(behaviour: EndpointBehaviour) -> Generator[Patience]:
    patience = _HASTY if behaviour.is_lasting else _PATIENT
    opened = partial(stb_core.llm.providers.open_model, patience=patience)
    with ExitStack() as stack:
        for place in (stb_core.llm, run_module, opening):
            stack.enter_context(mock.patch.object(place, "open_model", opened))
        yield patience


@asynccontextmanager
async def _serving(url: str, **options: Any) -> AsyncGenerator[str]:
    async with virtual_server.running(ServerOptions(database_url=url, dataset="world", **options)) as server:
        yield server.url


async def _run(store_url: str, llm: LLMServer, agent: str, **options: Any) -> RunOutcome:
    settings = Settings(store_url, {}, {"STUB_BASE_URL": llm.url})
    request = RunRequest(agent, "world:G3_instruction", limit=2, max_connections=1, **options)
    return await run_agent(settings, request, quiet=True)


async def _agents(
    behaviour: EndpointBehaviour, store: Store, store_url: str, llm: LLMServer
) -> list[Observed]:
    found = []
    environment = {"STUB_BASE_URL": llm.url}
    with _patience_for(behaviour), _remote_agent(hasty=behaviour.is_lasting) as remote:
        async with _serving(store_url, proxy="stub", environment=environment) as url:
            for role in ROLES[:3]:
                options = ("width=2", "depth=2") if role == "dfsdt" else ("turns=4",)
                outcome = await _run(
                    store_url, llm, role, model="stub/any", server=url, name=role, agent_option=options
                )
                found.append(_with_replies(await _observed(store, outcome), llm))
            outcome = await _run(store_url, llm, remote, server=url, name="remote", max_steps=4)
            found.append(_with_replies(await _observed(store, outcome), llm))
    return found


async def _observed(store: Store, outcome: RunOutcome) -> Observed:
    """How the trial about ``OFF`` ended, and the run."""
    trajectories = [t async for t in store.runs.trajectories(outcome.run.run)]
    (about,) = [t for t in trajectories if OFF in t.query]
    lines = await run_headlines(RunReader(store, outcome.run))
    counts = about.stop is not StopReason.INFRASTRUCTURE
    headline = lines[0].partition(":")[0] if lines and counts else ""
    tally = outcome.summary.tallies[-1]
    recorded = tally.usage.total_tokens + tally.simulator.total_tokens
    return Observed(
        about.stop.value, 1 if outcome.summary.missing else 0, counts, headline, recorded=recorded
    )


def _with_replies(seen: Observed, llm: LLMServer) -> Observed:
    """With what the endpoint has replied in this role, which is then forgotten."""
    replies, llm.replies = llm.replies, []
    questions = Counter(_question(body) for body, _ in replies)
    usages = [document.get("usage") or {} for _, document in replies]
    given = sum(int(float(usage.get(name) or 0)) for usage in usages for name in _TOKENS)
    return replace(seen, most_replies=max(questions.values(), default=0), given=given)


_TOKENS = ("prompt_tokens", "completion_tokens")


def _question(body: Json) -> str:
    """What a request asks, however it asks for JSON, and with whatever seed and temperature."""
    texts = [
        (m["role"], str(m.get("content")).partition("\n\nAnswer with one JSON")[0]) for m in body["messages"]
    ]
    return json.dumps([texts, bool(body.get("tools"))])


@contextmanager
def _remote_agent(*, hasty: bool) -> Generator[str]:
    """The address of an agent that asks its model over the episode's proxy, and gives up where that fails."""

    def act(turn: Json) -> Json:
        tools = turn["tools"]
        told = [
            {"role": "tool", "content": call["observation"], "tool_call_id": "c"} for call in turn["calls"]
        ]
        made = [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{**finish_call(), "function": {"name": "search_for_inns", "arguments": "{}"}}],
            }
            for _ in told[:1]
        ]
        messages = [{"role": "system", "content": "Go."}, {"role": "user", "content": turn["task"]["text"]}]
        body = {"model": "any", "messages": [*messages, *made, *told[:1]], "tools": tools}
        path = f"{turn['episode']['proxy_url']}/chat/completions"
        try:
            reply = httpx.post(path, json=body, timeout=0.5 if hasty else 60)
            message = reply.raise_for_status().json()["choices"][0]["message"]
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return {"answer": None}
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        calls += [message[_FORM]] if message.get(_FORM) else []
        return {"calls": calls} if calls else {"answer": message.get("content")}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            turn = json.loads(self.rfile.read(int(self.headers["content-length"])))
            content = json.dumps(act(turn)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _judge(behaviour: EndpointBehaviour, store: Store, store_url: str, llm: LLMServer) -> Observed:
    """The verdict on the answer about ``OFF``, and how ``stb score`` ends."""
    finish = Step(function=FINISH, arguments=finish_call()["function"]["arguments"])
    done = await store.runs.create(
        "judged", (await store.runs.get("cot")).manifest, {"G3_instruction": ["10", "11"]}
    )
    answers = [
        Trajectory(
            group=query.group,
            query_id=query.query_id,
            query=query.text,
            agent="a",
            steps=(finish,),
            stop=StopReason.ANSWERED,
            final_answer="The Arms.",
        )
        for query in world.QUERIES[4:6]
    ]
    await store.runs.put_trajectories(done.run, answers)
    reader = RunReader(store, done)
    settings = Settings(store_url, {}, {"STUB_BASE_URL": llm.url})
    with _patience_for(behaviour):
        async with opening.open_judges("stub/any", settings, connections=1, quiet=True) as judges:
            await judge_run(judges, reader, 1)
            rows = await score_rows(reader, judges.panel(), rounds=1)
    verdicts = await store.verdicts.of_query("judged", "G3_instruction", "11", metric="sopr")
    given = verdicts[-1].status.value if verdicts else "missing"
    complete = all(row["complete"] for row in rows)
    log = await store.verdicts.of_run("judged", metric="")
    recorded = sum(verdict.usage.total_tokens for verdict in log)
    counts = given in {"solved", "unsure", "unsolved"}
    return _with_replies(Observed(given, 0 if complete else 1, counts, recorded=recorded), llm)


SIMULATED = """
def solve(task, tools):
    city = "Osterby" if "Osterby" in task.text else "Velmora"
    return tools["search_for_inns"](city=f"New {city}")
"""


async def _simulator(
    behaviour: EndpointBehaviour, store: Store, store_url: str, llm: LLMServer, folder: Path
) -> Observed:
    """How the trial of an agent ends whose only call has to be simulated."""
    (folder / "simulated.py").write_text(SIMULATED)
    with _patience_for(behaviour) as patience:
        simulator = SimulatorOptions(
            "llm",
            model="stub/any",
            endpoints=(Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY"),),
            patience=patience,
            examples=0,
        )
        async with _serving(store_url, mode=CacheMode.SIMULATE, simulator=simulator) as url:
            agent = f"{folder / 'simulated.py'}:solve"
            outcome = await _run(store_url, llm, agent, server=url, mode="simulate", name="simulated")
    seen = _with_replies(await _observed(store, outcome), llm)
    (about,) = [t async for t in store.runs.trajectories("simulated") if OFF in t.query]
    provenance = about.steps[0].provenance if about.steps else ""
    return replace(seen, end=provenance) if provenance else seen


INTRODUCTION = """\
# Endpoint behaviours

Written by `tests/endpoint_behaviours.py`, which lets each of these happen over real HTTP; do not edit. A test holds
every cell.

A cell has four parts: how it ends, the exit code, whether that query counts in the score, and the headline that then
stands above the score. For agents the end is the stop reason of the trial, and the exit code that of `stb run`; `remote` is an
agent at an address that asks its model over the episode's proxy, and gives up where that fails. For a judge it
is the verdict, and the exit code of `stb score`. For a simulator it is where the answer to the call came from, or
the stop reason of a trial that was lost, and the exit code of `stb run`.

Most behaviours are those of every request. Those "of one query" happen in a run in which other queries are answered.
[Whose fault was it?](concepts.md#whose-fault-was-it) has the rule. No behaviour in which the endpoint refused, or
gave no usable reply, yields a complete score without a headline.

"""


def page(rows: list[list[Observed]]) -> str:
    """The page of these rows, in the order of ``BEHAVIOURS``."""
    lines = [f"| the endpoint | {' | '.join(ROLES)} |", f"|---{'|---' * len(ROLES)}|"]
    lines += [row_text(behaviour, row) for behaviour, row in zip(BEHAVIOURS, rows, strict=True)]
    return INTRODUCTION + "\n".join(lines) + "\n"


def row_text(behaviour: EndpointBehaviour, row: list[Observed]) -> str:
    """One row of the page."""
    return f"| {behaviour.name} | {' | '.join(map(str, row))} |"


def _write() -> None:
    rows = []
    with LLMServer() as llm:
        for behaviour in BEHAVIOURS:
            llm.reset()
            folder = Path(tempfile.mkdtemp())
            rows.append(asyncio.run(observe(behaviour, f"sqlite:///{folder / 'store.db'}", llm, folder)))
            shutil.rmtree(folder)
            sys.stderr.write(f"{row_text(behaviour, rows[-1])}\n")
    PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    _write()
