"""Calls as they arrive: the wire format, identification, documents, and what an answer is."""

from stb_server.calls.answers import (
    SIMULATOR_UNAVAILABLE,
    Answer,
    CallRequest,
    Decline,
    Layer,
    answers_by_rule,
)
from stb_server.calls.catalogue import Catalogue
from stb_server.calls.documented_answers import Documents, Leaf, fill_template, parse_template
from stb_server.calls.episode_state import MAX_NAME, CallInState, call_alone, episode_history
from stb_server.calls.identify import CHAT_WITH_USER, Refusal
from stb_server.calls.nearest import Neighbour, argument_differences, describe_differences, recorded_arguments
from stb_server.calls.protocol import MISS, BadRequestError, VirtualRequest, encode_answer, read_request
