"""The settings of a server: one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stb_core.values import DEFAULT_MODE, CacheMode
from stb_server.pipeline import FaultPlan
from stb_server.simulators import SimulatorOptions
from stb_server.worker.host_names import Hosts

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class ServerOptions:
    """The settings of one server; every worker process gets the same."""

    database_url: str = field(repr=False)
    """Database URL of the store; may hold a password."""
    dataset: str
    """Name of the dataset that answers requests without a dataset."""
    mode: CacheMode = DEFAULT_MODE
    """What may answer a call, unless its request names a mode."""
    follows_sources: bool = False
    """Whether it is ``auto`` in place of ``mode`` while there is a real API or a simulator."""
    token: str = field(default="", repr=False)
    """When not empty, every request must carry it: ``Authorization: Bearer <token>``."""
    tokens_file: Path | None = None
    """The file with tokens that have names; see ``clients``."""
    hosts: Hosts | None = None
    """The host names that requests may use; None for any."""
    write_token: str = field(default="", repr=False)
    """When not empty, whoever has it may pin, annotate and delete responses in the inspector."""
    redis_url: str = field(default="", repr=False)
    """URL of the cache's shared tier; may hold a password. Empty for none."""
    simulator: SimulatorOptions | None = None
    """What stands in for real APIs in the modes that allow it."""
    upstream: Path | None = None
    """The file that describes the real APIs; None for none."""
    faults: FaultPlan | None = None
    """Faults to inject, for studies of robustness."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where the keys of real APIs are looked up."""
    rate_limit: float = 0.0
    """Calls a second that one client address may make of one worker; 0 for any number."""
    memory_bytes: int = 128 * MEBIBYTE
    """Most bytes of answers that one worker keeps in memory."""
    max_body_bytes: int = MEBIBYTE
    """Largest request body that is read; a larger one gets 413."""
    episode_idle_s: float = 3600.0
    """How long an episode may be idle before it counts as abandoned by its agent."""
    max_open_episodes: int = 1000
    """Episodes of one run, and of one client address, that may be open at once."""
    max_episode_calls: int = 200
    """Calls of functions in one episode."""
    proxy: str = ""
    """The provider that the recording proxy passes model calls on to; empty for none."""
    model_timeout_s: float | None = None
    """Longest time without data from that provider, where it is more than the default of ten minutes."""
    prices: Mapping[str, Any] = field(default_factory=dict)
    """What models cost, by PROVIDER/MODEL, as in the settings' table ``prices``."""
    redis_timeout_s: float = 0.25
    """How long Redis may take to answer before it counts as down."""
    write_timeout_s: float = 10.0
    """How long a transaction may take before its writes count as failed."""
    flush_interval_s: float = 0.5
    """How long a miss may wait before it is written to the ledger."""
    watch_interval_s: float = 1.0
    """How often a worker checks whether others changed a dataset."""
    health_interval_s: float = 5.0
    """How often a worker tries whether the store can be read and written."""
    metrics_folder: Path | None = None
    """Where workers exchange their numbers; None outside ``stb serve``."""
