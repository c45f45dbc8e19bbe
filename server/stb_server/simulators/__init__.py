"""Simulators: they answer in an API's place, and say so by the provenance of what they answer."""

from stb_server.simulators.ask import SimulatorSampling
from stb_server.simulators.documents import Subject
from stb_server.simulators.json_repair import Reading, read_object
from stb_server.simulators.llm_prompt import prompt_text, prompt_version
from stb_server.simulators.mirrorapi_prompt import Variant
from stb_server.simulators.model_simulators import ModelSimulator
from stb_server.simulators.options import AUTO, PATIENCE, SimulatorOptions, read_options
from stb_server.simulators.presence import Presence
from stb_server.simulators.protocol import ModelBacked, SimulationRequest
from stb_server.simulators.registry import Context, open_simulator
from stb_server.simulators.remembered_declines import RememberedDeclines
from stb_server.simulators.schemas import decode_response, schema_of_value
