"""How one call is answered: the layers of a cache mode, asked in order."""

from stb_server.pipeline.episode_answers import EpisodeLedger
from stb_server.pipeline.fault_injection import Faults
from stb_server.pipeline.fault_plan import FaultPlan, parse_faults
from stb_server.pipeline.fetch_locks import Locks, RedisLocks, StoreLocks
from stb_server.pipeline.miss_ledger import MissLedger
from stb_server.pipeline.pipeline import ChatWithUser, Pipeline
from stb_server.pipeline.single_flight import SingleFlight
