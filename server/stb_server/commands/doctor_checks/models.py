"""Checks model endpoints: each must accept its key, know the model, and support structured output.

Each check costs one request for one token, and one for a few tokens with a schema.
"""

from __future__ import annotations

from stb_core.errors import ModelError, RequestRefusedError, UnreadableReplyError, UsageError
from stb_core.llm import Endpoint, Patience, Request, endpoint_of
from stb_core.llm.openai_client import Format, OpenAIModel
from stb_core.settings import Settings
from stb_core.values import Message
from stb_server.commands.doctor_checks.check_result import CheckResult, failure, warning

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
    max_tokens=64,
    temperature=0,
    response_schema=_SCHEMA,
)
_FORMATS = {Format.SCHEMA: "a schema", Format.OBJECT: "a JSON object", Format.WORDS: "words alone"}


async def check_models(
    settings: Settings, names: list[str], simulator: str, urls: tuple[str, ...]
) -> list[CheckResult]:
    """Send requests to each model.

    Args:
        settings: the settings with the providers.
        names: ``PROVIDER/MODEL`` of agents' models and judges.
        simulator: ``PROVIDER/MODEL`` of the simulator, or empty.
        urls: endpoints of the simulator's model; they replace its provider's URL.
    """
    results = []
    for name in dict.fromkeys(filter(None, names)):
        results += await _of_provider(settings, name)
    if simulator and urls:
        try:
            key = settings.provider(simulator.partition("/")[0])[1]
        except UsageError as problem:
            results.append(_missing(simulator, problem))
            return results
        for url in urls:
            endpoint = Endpoint(url.rstrip("/"), key, "STB_SIMULATOR_ENDPOINT", "the simulator's key")
            results += await _ask(f"simulator {simulator} at {url}", simulator, endpoint)
    elif simulator and simulator not in names:
        results += await _of_provider(settings, simulator)
    return results or [
        CheckResult("models", "not checked: name them with --model, --judge and --simulator-model")
    ]


async def _of_provider(settings: Settings, name: str) -> list[CheckResult]:
    try:
        endpoint = endpoint_of(name, settings)
    except UsageError as problem:
        return [_missing(name, problem)]
    return await _ask(f"model {name}", name, endpoint)


def _missing(name: str, problem: UsageError) -> CheckResult:
    return failure(f"model {name}", "model-endpoint-missing", problem.message.rstrip("."), problem.hint)


async def _ask(check: str, name: str, endpoint: Endpoint) -> list[CheckResult]:
    model = OpenAIModel(name, endpoint, patience=_PATIENCE)
    try:
        await model.check()  # fails at once, while the next request would be retried
        try:
            await model.complete(_ASK)
        except RequestRefusedError as problem:
            # Reasoning models refuse such a small limit; the refusal shows that they exist.
            if "token" not in problem.message:
                raise
        return [CheckResult(check, f"{endpoint.base_url} answers"), await _structured(check, model)]
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
        return [failure(check, name_of_problem, problem.message.rstrip("."), remedy)]
    finally:
        await model.close()


async def _structured(check: str, model: OpenAIModel) -> CheckResult:
    try:
        await model.complete(_ASK_FOR_JSON)
    except (UnreadableReplyError, RequestRefusedError) as problem:
        return warning(
            f"{check}: structured output",
            "model-without-structured-output",
            f"it returns no JSON of a given form ({problem.message.rstrip('.')})",
            "Do not use it as judge or simulator; use another model, or a server with structured output (vLLM).",
        )
    form = model.proven_format
    assert form is not None, "a reply was just parsed"
    if form is not Format.SCHEMA:
        return warning(
            f"{check}: structured output",
            "model-without-schema",
            f"it returns JSON when asked by {_FORMATS[form]}, but does not follow a schema",
            "It works, with some repeated requests; a server with json_schema (vLLM) avoids them.",
        )
    return CheckResult(f"{check}: structured output", f"by {_FORMATS[form]}")
