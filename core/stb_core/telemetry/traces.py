"""OpenTelemetry traces, if an OTLP endpoint is configured and the extra ``otel`` is installed.

Traces are off by default; a span then costs one comparison. Spans of models, agents and tools have the names
and attributes of the GenAI conventions (semantic-conventions 1.41). No span contains messages, arguments or
answers.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, TypeAlias

_log = logging.getLogger(__name__)

Attributes: TypeAlias = Mapping[str, str | int | float | bool | list[str] | None]

_tracer: Any = None
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Span:
    """A span that is being recorded; does nothing if traces are off."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        """Add attributes; None values are left out."""
        if self._span is not None:
            self._span.set_attributes(
                {name: value for name, value in attributes.items() if value is not None}
            )

    def fail(self, kind: str) -> None:
        """Mark the span as failed, with the kind of the error."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - installed with the extra

            self._span.set_attribute("error.type", kind)
            self._span.set_status(StatusCode.ERROR)


_NONE = Span()


def start(environment: Mapping[str, str], service: str) -> None:
    """Send spans to the endpoint that the environment names; does nothing if it names none.

    Args:
        environment: ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_ENDPOINT``; OpenTelemetry
            itself reads further variables.
        service: the service name of the spans, unless OTEL_SERVICE_NAME is set.
    """
    global _tracer  # noqa: PLW0603 - a process has one destination for its spans
    base = environment.get(_ENDPOINT, "").rstrip("/")
    endpoint = environment.get(_TRACES_ENDPOINT) or (f"{base}/v1/traces" if base else "")
    if not endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError:
        _log.warning("no traces: install the extra, pip install 'stabletoolbench[otel]'")
        return
    name = environment.get("OTEL_SERVICE_NAME") or service
    own_version = version("stabletoolbench")
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": own_version})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _tracer = provider.get_tracer("stabletoolbench", own_version)
    _tracer.provider = provider


def are_enabled() -> bool:
    """Whether spans are sent."""
    return _tracer is not None


def flush() -> None:
    """Send all finished spans now."""
    if _tracer is not None:
        _tracer.provider.force_flush()


@contextmanager
def span(name: str, attributes: Attributes, *, kind: str = "INTERNAL") -> Generator[Span]:
    """A span around a block, as a child of the current span; an error that leaves the block marks it as failed.

    Args:
        name: the name of the span.
        attributes: those known at the start.
        kind: ``INTERNAL``, or ``CLIENT`` for a request to another service.
    """
    if _tracer is None:
        yield _NONE
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - installed with the extra

    with _tracer.start_as_current_span(
        name, kind=SpanKind[kind], record_exception=False, set_status_on_exception=False
    ) as opened:
        current = Span(opened)
        current.set(attributes)
        try:
            yield current
        except Exception as problem:
            current.fail(type(problem).__name__)
            raise


@contextmanager
def server_span(name: str, headers: Mapping[str, str]) -> Generator[Span]:
    """A span around the handling of a request, as a child of the client's span if its headers name one."""
    from opentelemetry.propagate import extract  # noqa: PLC0415 - called only if traces are on
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _tracer.start_as_current_span(name, context=extract(headers), kind=SpanKind.SERVER) as opened:
        yield Span(opened)


def request_headers() -> dict[str, str]:
    """Headers for a request that make the receiver's spans part of this trace."""
    headers: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.propagate import inject  # noqa: PLC0415

        inject(headers)
    return headers
