"""The values that all packages share: calls, tools, queries, trajectories, verdicts, manifests."""

from stb_core.values.calls import (
    KEY_SCHEME,
    SCHEMES_WITH_EQUAL_KEYS,
    JsonObject,
    ToolCall,
    call_key,
    canonical_json,
    content_hash,
    parse_arguments,
)
from stb_core.values.digits import interval_text, measure_text, p_text, score_text, score_with_interval
from stb_core.values.episodes import Episode
from stb_core.values.fingerprint import Fingerprint, response_element
from stb_core.values.functions import Functions, FunctionSchema
from stb_core.values.manifest import Manifest
from stb_core.values.names import standardize_api, standardize_category, standardize_tool
from stb_core.values.nulls import NULL_MEMBER, canonical_without_nulls, without_nulls
from stb_core.values.observations import Finished
from stb_core.values.plain_text import count_noun
from stb_core.values.provenance import DEFAULT_MODE, NOT_STATED, CacheMode, Provenance
from stb_core.values.python_notation import parse_literal
from stb_core.values.queries import Query, group_order
from stb_core.values.recordings import Recording
from stb_core.values.tools import ApiDocument, ApiRef, ToolDocument
from stb_core.values.trajectories import (
    FINISH,
    FunctionCall,
    Message,
    Node,
    Step,
    StopReason,
    Trajectory,
    TrialPlace,
    count_provenances,
    made_calls,
)
from stb_core.values.verdicts import POINTS, SOPR, SOWR, Judgement, Status, Verdict
