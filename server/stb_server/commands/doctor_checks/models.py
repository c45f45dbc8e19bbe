"""Checks model endpoints: each must accept its key, know the model, and support structured output.

An agent's model must also call functions. Each check costs one request for one token, one for an object of
a schema, and one with a function. A model that thinks first is told, and so are replies without anything in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from stb_core.errors import ModelError, RequestRefusedError, UnreadableReplyError, UsageError
from stb_core.llm import (
    CallForm,
    Endpoint,
    Patience,
    Request,
    Schema,
    endpoint_of,
    probe_function_calls,
    without_thinking,
)
from stb_core.llm.openai_client import Format, OpenAIModel
from stb_core.llm.structured_output import find_object
from stb_core.settings import Settings
from stb_core.values import JsonObject, Message
from stb_server.commands.doctor_checks.check_result import CheckResult, failure, warning
from stb_server.simulators import Presence

_PATIENCE = Patience(
    deadline_s=30,
    connect_timeout_s=5,
    read_timeout_s=30,
    first_wait_s=0.2,
    longest_wait_s=1,
)
_ASK = Request(messages=(Message(role="user", content="Say: ok"),), max_tokens=1, temperature=0)
_SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["green", "blue"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
_ASK_FOR_JSON = Request(
    messages=(Message(role="user", content="Which colour has grass? Answer in JSON: verdict."),),
    max_tokens=512,  # a model that thinks first needs some room
    temperature=0,
    response_schema=_SCHEMA,
)
_SHORT_CONTEXT = 8192
"""Tokens below which prompts that were seen, with the replies to them, do not all fit."""
_THINKS = ", after thinking"
_NO_CALLS, _NO_REPLY = "model-without-function-calls", "model-reply-empty"
_PROBLEMS = {CallForm.EMPTY: _NO_REPLY, CallForm.THOUGHTS: _NO_REPLY}
_REMEDIES = {
    CallForm.REFUSED: "Start vLLM with --enable-auto-tool-choice and the --tool-call-parser of this model, llama.cpp with"
    " --jinja; or use the agent react.",
    CallForm.TEXT: "Start the server with the --tool-call-parser of this model, or use stb run --text-calls on, or the"
    " agent react.",
    CallForm.WORDS: "Start the server with the --tool-call-parser of this model, or use the agent react.",
    CallForm.THOUGHTS: "Give it more tokens for a reply, or turn its thinking off; vLLM also needs its --reasoning-parser.",
    CallForm.EMPTY: "Check its chat template: it says nothing where it is asked to call a function.",
}
_FORMATS = {Format.SCHEMA: "a schema", Format.OBJECT: "a JSON object", Format.WORDS: "words alone"}


@dataclass(frozen=True)
class NamedModels:
    """The models to check, as ``PROVIDER/MODEL``."""

    agents: tuple[str, ...] = ()
    """They must call functions."""
    judges: tuple[str, ...] = ()
    simulator: str = ""
    urls: tuple[str, ...] = ()
    """Endpoints of the simulator's model; they replace its provider's URL."""
    if_there: tuple[str, ...] = ()
    """Simulators and judges whose host need not exist."""


async def check_models(settings: Settings, named: NamedModels, timeout_s: float) -> list[CheckResult]:
    """Send requests to each model, at the providers of the settings.

    Args:
        settings: where providers are.
        named: the models.
        timeout_s: longest time for one reply.
    """
    results = []
    for name in dict.fromkeys(filter(None, (*named.agents, *named.judges))):
        results += await _of_provider(settings, name, timeout_s, calls_functions=name in named.agents)
    results += await _check_simulator(settings, named, timeout_s)
    checked = {*named.agents, *named.judges, *(() if named.urls else (named.simulator,))}
    for name in dict.fromkeys(name for name in named.if_there if name not in checked):
        results += await _of_provider(settings, name, timeout_s, may_be_absent=True)
    return results or [
        CheckResult("models", "not checked: name them with --model, --judge and --simulator-model")
    ]


async def _check_simulator(settings: Settings, named: NamedModels, timeout_s: float) -> list[CheckResult]:
    simulator, urls, results = named.simulator, named.urls, []
    if simulator and urls:
        try:
            key = settings.provider(simulator.partition("/")[0])[1]
        except UsageError as problem:
            results.append(_missing(simulator, problem))
            return results
        for url in urls:
            endpoint = Endpoint(url.rstrip("/"), key, "STB_SIMULATOR_ENDPOINT", "the simulator's key")
            results += await _ask(f"simulator {simulator} at {url}", simulator, endpoint, timeout_s)
    elif simulator and simulator not in (*named.agents, *named.judges):
        results += await _of_provider(settings, simulator, timeout_s)
    return results


async def _of_provider(
    settings: Settings,
    name: str,
    timeout_s: float,
    *,
    calls_functions: bool = False,
    may_be_absent: bool = False,
) -> list[CheckResult]:
    try:
        endpoint = endpoint_of(name, settings)
    except UsageError as problem:
        return [_missing(name, problem)]
    if may_be_absent:
        presence = Presence([endpoint.base_url])
        await presence.look()
        if not presence.is_there:
            host = urlsplit(endpoint.base_url).hostname
            return [CheckResult(f"model {name}", f"not started: there is no host {host}")]
    return await _ask(f"model {name}", name, endpoint, timeout_s, calls_functions=calls_functions)


def _missing(name: str, problem: UsageError) -> CheckResult:
    return failure(f"model {name}", "model-endpoint-missing", problem.message.rstrip("."), problem.hint)


async def _ask(
    check: str,
    name: str,
    endpoint: Endpoint,
    timeout_s: float,
    *,
    calls_functions: bool = False,
) -> list[CheckResult]:
    texts: list[str] = []

    def find(text: str, schema: Schema) -> JsonObject | None:
        texts.append(text)
        return find_object(text, schema)

    model = OpenAIModel(name, endpoint, patience=_PATIENCE.with_timeout(timeout_s), find=find)
    try:
        await model.check()  # fails at once, while the next request would be retried
        try:
            await model.complete(_ASK)
        except RequestRefusedError as problem:
            # Reasoning models refuse such a small limit; the refusal shows that they exist.
            if "token" not in problem.message:
                raise
        return [
            CheckResult(check, f"{endpoint.base_url} answers"),
            *await _context(check, name, endpoint),
            await _structured(check, model, texts),
            await _functions(check, model, needed=calls_functions),
        ]
    except ModelError as problem:
        text = str(problem)
        name_of_problem = "model-unavailable"
        if "cannot be reached" in text or "no answer" in text:
            name_of_problem = "model-unreachable"
        elif "key was refused" in text:
            name_of_problem = "model-key-refused"
        elif "HTTP 404" in text:
            name_of_problem = "model-unknown"
        remedy = problem.hint or f"Check {endpoint.url_variable} and what runs there."
        if "no answer within" in text:
            remedy = "Raise --model-timeout: a server may first have to load the model."
        return [failure(check, name_of_problem, problem.message.rstrip("."), remedy)]
    finally:
        await model.close()


async def _structured(check: str, model: OpenAIModel, texts: list[str]) -> CheckResult:
    try:
        reply = await model.complete(_ASK_FOR_JSON)
    except (UnreadableReplyError, RequestRefusedError) as problem:
        return warning(
            f"{check}: structured output",
            "model-without-structured-output",
            f"it returns no JSON of a given form ({problem.message.rstrip('.')})",
            "Do not use it as judge or simulator; use another model, or a server with structured output (vLLM).",
        )
    form = model.proven_format
    assert form is not None, "a reply was just parsed"
    thinks = _THINKS if reply.thoughts or any(without_thinking(text) != text for text in texts) else ""
    if form is not Format.SCHEMA:
        return warning(
            f"{check}: structured output",
            "model-without-schema",
            f"it returns JSON{thinks} when asked by {_FORMATS[form]}, but does not follow a schema",
            "It works, with some repeated requests; a server with json_schema (vLLM) avoids them.",
        )
    return CheckResult(f"{check}: structured output", f"by {_FORMATS[form]}{thinks}")


async def _functions(check: str, model: OpenAIModel, *, needed: bool) -> CheckResult:
    """Whether the model calls a function that it is offered, as agents offer theirs."""
    probe = await probe_function_calls(model)
    if probe.form is CallForm.CALLS:
        return CheckResult(f"{check}: function calls", probe.form + (_THINKS if probe.thinks else ""))
    found = f"{probe.form} ({probe.reason})" if probe.reason else probe.form.value
    if not needed:
        return CheckResult(f"{check}: function calls", f"{found}; only agents need them")
    return warning(
        f"{check}: function calls", _PROBLEMS.get(probe.form, _NO_CALLS), found, _REMEDIES[probe.form]
    )


async def _context(check: str, name: str, endpoint: Endpoint) -> list[CheckResult]:
    """How many tokens prompt and reply may have, where the endpoint says so."""
    headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
    try:
        async with httpx.AsyncClient(timeout=_PATIENCE.connect_timeout_s) as client:
            document = (await client.get(f"{endpoint.base_url}/models", headers=headers)).json()
        entries: list[dict[str, Any]] = document["data"]
        [about] = [entry for entry in entries if entry["id"] == name.partition("/")[2]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []
    meta = about.get("meta")
    told = [about.get("max_model_len"), about.get("context_length"), about.get("context_window")]
    told += [meta.get("n_ctx_train")] if isinstance(meta, dict) else []
    tokens = next((one for one in told if isinstance(one, int)), None)
    if tokens is None:
        return []
    if tokens < _SHORT_CONTEXT:
        return [
            warning(
                f"{check}: context",
                "model-context-short",
                f"prompt and reply may have {tokens:,} tokens together",
                f"Give it at least {_SHORT_CONTEXT:,} (vLLM: --max-model-len); longer prompts are refused or cut.",
            )
        ]
    return [CheckResult(f"{check}: context", f"{tokens:,} tokens")]
