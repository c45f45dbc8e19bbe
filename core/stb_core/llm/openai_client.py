"""The one client of OpenAI-compatible endpoints: chat completions with retries, usage and cost.

A request for structured output gets a reply whose content is a JSON object that fits the schema, or an
error. Which way of asking an endpoint supports is found out by trying: ``json_schema``, else
``json_object``, else plain words, the last two with the schema in the prompt.

The official SDK provides the request headers and the error classes. It does not send the requests: it takes
half a millisecond of CPU time per request or more, as much as all the rest of an agent's step.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NoReturn

import httpx2
import openai
import orjson

from stb_core import json_text
from stb_core.errors import ModelError, ModelUnavailableError, RequestRefusedError, UnreadableReplyError
from stb_core.http import (
    HttpClient,
    HttpError,
    HttpResponse,
    HttpTimeoutError,
    ResponseTooLargeError,
    parse_url,
)
from stb_core.llm import chat_format, refusals, structured_output
from stb_core.llm.concurrency import AdaptiveLimit
from stb_core.llm.protocol import Endpoint, Reply, Request
from stb_core.llm.repeats import MAX_REQUESTS, Repeats
from stb_core.llm.retries import DEFAULT_PATIENCE, Patience, Retries, retry_after_s
from stb_core.llm.slowness import Slowness
from stb_core.telemetry import mask_of, traces
from stb_core.usage import Price, Usage

_log = logging.getLogger(__name__)

_TEMPORARY = frozenset({408, 409, 425, 429})
_TOO_MANY = frozenset({429, 503})
_CHAT = "/chat/completions"


class Format(IntEnum):
    """Ways to ask for structured output, the most reliable first."""

    SCHEMA = 0
    OBJECT = 1
    WORDS = 2


class OpenAIModel:
    """A model behind an OpenAI-compatible endpoint.

    Args:
        name: ``PROVIDER/MODEL``.
        endpoint: where it is.
        patience: timeouts and retries.
        price: of its tokens; without it the cost is unknown.
        concurrency: limits the requests in flight; pass the same one to models that share an endpoint.
        seed: of the random waits between retries.
        find: finds the object that fits a schema in the text of a reply; None if there is none.
        say: tells the user that the endpoint is slow; by default the log does.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        *,
        patience: Patience = DEFAULT_PATIENCE,
        price: Price | None = None,
        concurrency: asyncio.Semaphore | AdaptiveLimit | None = None,
        seed: int = 0,
        find: Callable[
            [str, structured_output.Schema], dict[str, Any] | None
        ] = structured_output.find_object,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._name = name
        self._find = find
        self._endpoint = endpoint
        self._patience = patience
        self._price = price
        self._concurrency = concurrency or AdaptiveLimit(16)
        self._rng = random.Random(seed)
        self._proven: Format | None = None
        self._slowness = Slowness(name, patience.read_timeout_s, price, say or _log.warning)
        # Other providers must not learn an organisation or project that is set for OpenAI.
        is_openai = name.startswith("openai/")
        withheld = {} if is_openai else {"OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}
        sdk = openai.AsyncOpenAI(
            api_key=endpoint.api_key or "none",
            base_url=str(parse_url(endpoint.base_url)),
            default_headers=withheld,  # type: ignore[arg-type]
            http_client=httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport()),  # never used
        )
        headers = {**sdk.default_headers, **sdk.auth_headers}
        self._mask = mask_of(endpoint.api_key or "")
        self._http = HttpClient(
            str(sdk.base_url).rstrip("/"),
            headers={name: value for name, value in headers.items() if isinstance(value, str)},
            connect_timeout_s=patience.connect_timeout_s,
            read_timeout_s=patience.read_timeout_s,
            follow_redirects=True,
        )
        self._server = {"server.address": sdk.base_url.host, "server.port": sdk.base_url.port}
        self._sdk_request = httpx2.Request("POST", sdk.base_url)  # the SDK's errors require one

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._name

    @property
    def proven_format(self) -> Format | None:
        """The format in which this endpoint has given structured output; None before the first."""
        return self._proven

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def check(self) -> None:
        """Check that the endpoint can be reached and accepts the key; asks no model and costs nothing.

        Raises:
            ModelUnavailableError: it cannot be reached, or refuses the key.
        """
        try:
            await self._send("GET", "/models")
        except openai.APIStatusError as problem:
            if problem.status_code in {401, 403}:
                self._give_up(problem)
        except (openai.APIConnectionError, ResponseTooLargeError) as problem:
            self._give_up(problem)

    async def complete(self, request: Request) -> Reply:
        """Answer a request; see ``Model``.

        Raises:
            ModelUnavailableError: no answer before the deadline, or an error that a retry cannot change.
            RequestRefusedError: the endpoint does not accept this request.
            UnreadableReplyError: structured output was requested, and no reply contained it.
        """
        provider, _, model = self._name.partition("/")
        operation = "chat" if request.prompt is None else "text_completion"
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.seed": request.seed,
            "gen_ai.output.type": "text" if request.response_schema is None else "json",
            **self._server,
        }
        with traces.span(f"{operation} {model}", attributes, kind="CLIENT") as span:
            reply = await self._complete(request)
            span.set(
                {
                    "gen_ai.response.model": reply.model or None,
                    "gen_ai.response.finish_reasons": [reply.finish_reason],
                    "gen_ai.usage.input_tokens": reply.usage.prompt_tokens,
                    "gen_ai.usage.output_tokens": reply.usage.completion_tokens,
                    "gen_ai.usage.cache_read.input_tokens": reply.usage.cached_tokens or None,
                    "stb.cost_usd": reply.usage.cost_usd,
                }
            )
        return reply

    async def _complete(self, request: Request) -> Reply:
        """As ``complete``; reply or failure also counts what requests consumed that timed out."""
        retries = Retries(self._patience, self._rng)
        try:
            reply = await self._ask_as_requested(request, retries)
        except ModelError as problem:
            if retries.lost.timed_out:
                problem.add_usage(retries.lost)
            raise
        if retries.lost.timed_out:
            return reply.model_copy(update={"usage": reply.usage + retries.lost})
        return reply

    async def _ask_as_requested(self, request: Request, retries: Retries) -> Reply:
        if request.response_schema is None:
            body = chat_format.request_body(request, self._name)
            return await self._ask(body, retries, path=chat_format.request_path(request))
        structured_output.check_schema(request.response_schema)
        return await self._ask_for_object(request, request.response_schema, retries)

    async def _ask_for_object(self, first: Request, schema: dict[str, Any], retries: Retries) -> Reply:
        """As ``complete`` with a schema; tries one format after the other until one is proven."""
        usage, refusal = Usage(), None
        unusable: list[Reply] = []
        repeats = Repeats(first)
        form = Format.SCHEMA if self._proven is None else self._proven
        while (request := repeats.request) is not None:
            try:
                reply = await self._ask(_formatted(request, schema, form, self._name), retries, form=form)
            except RequestRefusedError as problem:
                refusal = refusal or problem
                # Another format does not help a conversation that is too long or filtered.
                if self._proven is not None or form is Format.WORDS or problem.reason:
                    if unusable:  # the repeat is refused, for example for its seed
                        break
                    raise refusal from None
                form = Format(form + 1)
                continue
            except ModelError as problem:
                problem.add_usage(usage)
                raise
            usage += reply.usage
            text = reply.content or ""
            answer = self._find(text, schema)
            if answer is not None:
                self._proven = form if self._proven is None else min(form, self._proven)
                return reply.model_copy(
                    update={"content": _text_of(answer), "usage": usage, "repeats": repeats.count}
                )
            unusable.append(reply)
            repeats.count_unusable(reply)
            if self._proven is not None:
                form = self._proven
            elif form is not Format.WORDS and (len(unusable) > 1 or _ignores_format(text)):
                form = Format(form + 1)  # one bad reply does not rule a format out
        raise UnreadableReplyError(
            f"{self._name} gave {len(unusable)} replies, none of them the JSON that was requested{_fault_of(unusable)}.",
            reply=unusable[-1].content or "",
            hint="Try again, or use another model.",
            usage=usage,
        )

    async def _ask(
        self, payload: dict[str, Any], retries: Retries, *, form: Format = Format.WORDS, path: str = _CHAT
    ) -> Reply:
        """One readable reply, with as many attempts as the deadline allows."""
        while True:
            try:
                return await self._exchange(path, payload, retries)
            except openai.APIStatusError as problem:
                status = problem.status_code
                is_temporary = status in _TEMPORARY or status >= 500
                self._count_answer(refused=status in _TOO_MANY)
                if (
                    not is_temporary
                    or problem.code == "insufficient_quota"
                    or refusals.is_refusal(status, problem.body)
                ):
                    self._give_up(problem)
                if status >= 500 and form is not Format.WORDS and self._proven is None and retries.failures:
                    # Some servers answer 500 if they do not know the response_format.
                    raise RequestRefusedError(self._reason(problem)) from None
                asked = retry_after_s(problem.response.headers)
                wait = retries.next_wait_s(asked, reason=self._reason(problem))
                failure: Exception = problem
            except (openai.APIConnectionError, TimeoutError) as problem:
                self._count_if_late(problem, payload, retries)
                wait, failure = retries.next_wait_s(reason=self._reason(problem)), problem
            except ResponseTooLargeError as problem:
                self._give_up(problem)
            except UnreadableReplyError as problem:
                retries.unreadable += 1
                wait, failure = retries.next_wait_s(reason=self._reason(problem)), problem
                if retries.unreadable >= MAX_REQUESTS:
                    wait = None
            if wait is None:
                self._give_up(failure)
            _log.info(
                "model request is repeated",
                extra={"model": self._name, "reason": self._reason(failure), "wait_s": round(wait, 3)},
            )
            await asyncio.sleep(wait)

    async def _exchange(self, path: str, payload: dict[str, Any], retries: Retries) -> Reply:
        async with self._concurrency:
            limit = max(0.1, min(self._patience.read_timeout_s, retries.remaining_s))
            async with asyncio.timeout(limit):
                body = await self._send("POST", path, content := _encoded(payload))
        try:
            reply = chat_format.read_reply(body, self._price)
        except UnreadableReplyError:
            if status := chat_format.status_of_error(body):  # an error that was sent with status 200
                raise self._status_error(HttpResponse(status, {}, body)) from None
            self._count_answer(refused=False)
            raise
        self._count_answer(refused=False)
        self._slowness.learn(len(content), reply.usage.prompt_tokens)
        if reply.finish_reason == "content_filter" and not (
            reply.tool_calls or (reply.content or "").strip()
        ):
            raise RequestRefusedError(
                f"{self._name} gave no reply: its content filter blocked it.",
                reason="content_filter",
                usage=reply.usage,
            )
        return reply

    async def _send(self, method: str, path: str, content: bytes | None = None) -> bytes:
        """Send a request; the body of its response.

        Raises:
            openai.APIStatusError: the response is an error.
            openai.APIConnectionError: there is no response.
            ResponseTooLargeError: the response is too long to be read.
        """
        try:
            response = await self._http.request(method, path, content)
        except ResponseTooLargeError:
            raise
        except HttpTimeoutError as problem:
            raise openai.APITimeoutError(request=self._sdk_request) from problem
        except HttpError as problem:
            raise openai.APIConnectionError(request=self._sdk_request) from problem
        if 200 <= response.status < 300:
            return self._mask.body(response.content)
        raise self._status_error(response)

    def _status_error(self, response: HttpResponse) -> openai.APIStatusError:
        headers = [(name, value) for name, value in response.headers.items() if name != "content-encoding"]
        return openai.APIStatusError(
            f"HTTP {response.status}",
            response=httpx2.Response(response.status, headers=headers, request=self._sdk_request),
            body=chat_format.error_of(self._mask.json(response.text)),
        )

    def _count_answer(self, *, refused: bool) -> None:
        if isinstance(self._concurrency, AdaptiveLimit):
            self._concurrency.count_answer(refused=refused)

    def _count_if_late(self, problem: Exception, payload: dict[str, Any], retries: Retries) -> None:
        if not _is_late(problem):
            return
        retries.lost += self._slowness.count(len(_encoded(payload)))
        if isinstance(self._concurrency, AdaptiveLimit):
            self._concurrency.count_timeout()

    def _give_up(self, problem: Exception) -> NoReturn:
        """Raise the last failure as one of our errors."""
        endpoint, reason = self._endpoint, self._reason(problem)
        hint = "Try again later; replies so far are kept."
        if isinstance(problem, openai.APIConnectionError):
            hint = f"Check that the endpoint is running, and that {endpoint.url_variable} is right."
        if isinstance(problem, ResponseTooLargeError):
            hint = f"Check what answers at {endpoint.url_variable}."
        if isinstance(problem, openai.APIStatusError):
            status = problem.status_code
            if status in {401, 403}:
                verb = "Check" if endpoint.api_key else "Set"
                hint = f"{verb} {endpoint.key_variable}."
            elif status == 404:
                hint = f"Check the model's name, and {endpoint.url_variable}."
            elif refusals.is_refusal(status, problem.body):
                raise RequestRefusedError(
                    f"{self._name} does not accept the request: {reason}.",
                    reason=refusals.reason_of(problem.body),
                ) from None
        raise ModelUnavailableError(f"{self._name} is not available: {reason}.", hint=hint) from None

    def _reason(self, problem: Exception) -> str:
        """What went wrong, in one line without secrets."""
        key = self._endpoint.api_key
        if isinstance(problem, openai.APIStatusError):
            return refusals.describe_error(problem.status_code, problem.body, key)
        if isinstance(problem, openai.APITimeoutError | TimeoutError):
            text = f"no answer within {self._patience.read_timeout_s:g} s"
        elif isinstance(problem, openai.APIConnectionError):
            text = f"{self._endpoint.base_url} cannot be reached ({problem.__cause__ or problem})"
        else:
            text = str(problem).rstrip(".")
        return refusals.in_one_line(text, key)


def _is_late(problem: Exception) -> bool:
    """Whether a request was sent and got no answer in time; not where there was no connection."""
    if isinstance(problem, openai.APIConnectionError):
        return isinstance(problem.__cause__, HttpTimeoutError) and problem.__cause__.was_sent
    return isinstance(problem, TimeoutError)


def _fault_of(replies: Sequence[Reply]) -> str:
    """What all unusable replies have in common, as the end of a sentence; "" for nothing."""
    are_cut = all(reply.finish_reason == "length" for reply in replies)
    if not any(structured_output.without_thinking(reply.content or "").strip() for reply in replies):
        thinks = any(reply.thoughts or (reply.content or "").strip() for reply in replies)
        end = " and reached the limit on tokens" if are_cut else ""
        return f": all {'hold only thoughts' if thinks else 'are empty'}{end}"
    return ": all reached the limit on tokens" if are_cut else ""


def _ignores_format(text: str) -> bool:
    """Whether a reply has no JSON at all, which an endpoint that supports the format would not send."""
    return bool(text.strip()) and "{" not in text


def _encoded(payload: dict[str, Any]) -> bytes:
    """The body as JSON."""
    try:
        return orjson.dumps(payload)
    except TypeError:  # orjson writes no integers above 64 bits and no halves of surrogate pairs
        return json.dumps(payload).encode()


def _text_of(answer: dict[str, Any]) -> str:
    """An object as JSON; halves of surrogate pairs are replaced."""
    try:
        return orjson.dumps(answer).decode()
    except TypeError:
        return json_text.replace_surrogates(json.dumps(answer, ensure_ascii=False))


def _formatted(request: Request, schema: dict[str, Any], form: Format, name: str) -> dict[str, Any]:
    """The body of a request for structured output, in one of the formats."""
    if form is Format.SCHEMA:
        json_schema = {
            "name": request.schema_name,
            "schema": schema,
            "strict": structured_output.is_strict(schema),
        }
        return {
            **chat_format.request_body(request, name),
            "response_format": {"type": "json_schema", "json_schema": json_schema},
        }
    body = chat_format.request_body(chat_format.with_schema_in_prompt(request, schema), name)
    return {**body, "response_format": {"type": "json_object"}} if form is Format.OBJECT else body
