"""Language models behind OpenAI-compatible endpoints: requests, replies, retries and structured output."""

from stb_core.llm.blame import (
    REFUSED,
    AcceptedShapes,
    BlamingModel,
    RefusedRequest,
    ShapeRecordingModel,
    blame,
    shape_of,
    shape_of_body,
    stop_after_refusal,
    was_answered,
)
from stb_core.llm.concurrency import AdaptiveLimit
from stb_core.llm.cost_limit import CostLimit, CostLimitedModel, CostLimitReached, Spending, most_cost_usd
from stb_core.llm.function_probe import CallForm, FunctionProbe, probe_function_calls
from stb_core.llm.protocol import Endpoint, Model, Reply, Request
from stb_core.llm.providers import endpoint_of, open_model, price_of, provider_address
from stb_core.llm.repeats import Repeats, repeat_request
from stb_core.llm.retries import Patience, Retries, counting_failures, retry_after_s
from stb_core.llm.scripted import ScriptedModel
from stb_core.llm.structured_output import Schema, fits, objects_in, without_thinking
from stb_core.llm.text_calls import with_text_calls, written_calls
from stb_core.llm.token_usage import merged_counts, usage_of_document
