"""Traces by OpenTelemetry, where an OTLP endpoint is configured and the extra ``otel`` is installed.

Off by default, and then no more than a comparison. Spans of models, agents and tools have the names and
attributes of the GenAI conventions (semantic-conventions 1.41); none holds what was said, asked or
answered.
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
    """A span under way, or nothing where traces are off."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        """Add attributes; those that are None are left out."""
        if self._span is not None:
            self._span.set_attributes(
                {name: value for name, value in attributes.items() if value is not None}
            )

    def fail(self, kind: str) -> None:
        """Say that it failed, and how."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - only there with the extra

            self._span.set_attribute("error.type", kind)
            self._span.set_status(StatusCode.ERROR)


_NONE = Span()


def start(environment: Mapping[str, str], service: str) -> None:
    """Send spans to the endpoint that the environment names; does nothing where it names none.

    Args:
        environment: ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_ENDPOINT``; further
            variables are read by OpenTelemetry itself.
        service: the name under which spans appear, unless OTEL_SERVICE_NAME says another.
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
    made_by = version("stabletoolbench")
    provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": made_by}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _tracer = provider.get_tracer("stabletoolbench", made_by)
    _tracer.provider = provider


def are_on() -> bool:
    """Whether spans go anywhere."""
    return _tracer is not None


def flush() -> None:
    """Send what has been gathered."""
    if _tracer is not None:
        _tracer.provider.force_flush()


@contextmanager
def span(name: str, attributes: Attributes, *, kind: str = "INTERNAL") -> Generator[Span]:
    """A span around a block, under the one that is under way; an error that leaves it is noted by its type.

    Args:
        name: of the span.
        attributes: known at its beginning.
        kind: ``INTERNAL``, or ``CLIENT`` where something else is waited for.
    """
    if _tracer is None:
        yield _NONE
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - only there with the extra

    with _tracer.start_as_current_span(
        name, kind=SpanKind[kind], record_exception=False, set_status_on_exception=False
    ) as opened:
        made = Span(opened)
        made.set(attributes)
        try:
            yield made
        except Exception as problem:
            made.fail(type(problem).__name__)
            raise


@contextmanager
def served(name: str, headers: Mapping[str, str]) -> Generator[Span]:
    """A span of a request that is being answered, under the client's where its headers tell of one."""
    from opentelemetry.propagate import extract  # noqa: PLC0415 - called only where traces are on
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _tracer.start_as_current_span(name, context=extract(headers), kind=SpanKind.SERVER) as opened:
        yield Span(opened)


def headers() -> dict[str, str]:
    """What to send along with a request, so that the other side's spans belong to this trace."""
    carried: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.propagate import inject  # noqa: PLC0415

        inject(carried)
    return carried
