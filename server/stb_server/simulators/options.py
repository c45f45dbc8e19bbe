"""The settings of a simulator: one frozen value that is passed to every worker process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from stb_core.errors import NotFoundError, UsageError
from stb_core.llm import Endpoint, Patience, endpoint_of, price_of
from stb_core.settings import Settings
from stb_core.usage import Price
from stb_core.values import content_hash
from stb_server.simulators.ask import DEFAULT_SAMPLING, SimulatorSampling
from stb_server.simulators.mirrorapi_prompt import Variant

AUTO = "auto"
"""The name that stands for ``mirrorapi`` or ``llm``, as the model's name says, where the model's host exists."""
PATIENCE = Patience(deadline_s=180.0, read_timeout_s=120.0)
"""An agent waits for the answer, so a simulator gives up earlier than the agent's own model."""


@dataclass(frozen=True)
class SimulatorOptions:
    """The settings of one simulator."""

    simulator: str
    """Name of an entry point of the group ``stabletoolbench.simulators``."""
    model: str = ""
    """``PROVIDER/MODEL``; empty for a simulator that needs none."""
    endpoints: tuple[Endpoint, ...] = ()
    """Endpoints of the model; several share the load."""
    price: Price | None = None
    """Price of the model's tokens."""
    patience: Patience = PATIENCE
    """Timeouts and retries of one request."""
    connections: int = 64
    """Most concurrent requests of one worker, over all endpoints."""
    sampling: SimulatorSampling = DEFAULT_SAMPLING
    """How the model is asked."""
    examples: int = 3
    """Most recorded answers that are shown to the model."""
    example_tokens: int = 1500
    """Budget for them, about four characters per token."""
    variant: Variant = Variant.SFT
    """How MirrorAPI was trained to answer."""
    system_prompt: str = field(default="", repr=False)
    """MirrorAPI's system prompt; empty for our own."""
    may_be_absent: bool = False
    """Whether the model's host need not exist; calls are then declined without waiting."""

    @property
    def identity(self) -> str:
        """Its name and, with a model, that and a hash of all that could change an answer; for manifests."""
        if not self.model:
            return self.simulator
        asked = [asdict(self.sampling), self.examples, self.example_tokens, self.variant, self.system_prompt]
        return f"{self.simulator}, {self.model}, {content_hash(asked)[:12]}"


def read_options(
    simulator: str,
    settings: Settings,
    *,
    model: str = "",
    urls: Sequence[str] = (),
    system_prompt: Path | None = None,
    **others: object,
) -> SimulatorOptions:
    """Options from flags and settings.

    Args:
        simulator: its name.
        settings: provider variables and prices.
        model: ``PROVIDER/MODEL``.
        urls: addresses of replicas, in place of ``<PROVIDER>_BASE_URL``.
        system_prompt: a file with MirrorAPI's system prompt.
        others: further options by name.

    Raises:
        UsageError: it is not known where the model is, or ``auto`` is without a model.
        NotFoundError: the file is not there.
    """
    may_be_absent = simulator == AUTO
    if may_be_absent:
        simulator = _kind_of(model)
    options = replace(SimulatorOptions(simulator, may_be_absent=may_be_absent), **others)  # type: ignore[arg-type]
    if system_prompt is not None:
        try:
            options = replace(options, system_prompt=system_prompt.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError):
            raise NotFoundError(
                f"The system prompt {system_prompt} cannot be read.", hint="Check --simulator-prompt."
            ) from None
    if not model:
        return options
    return replace(
        options,
        model=model,
        endpoints=_endpoints(model, settings, urls),
        price=price_of(model, settings.values),
    )


def _kind_of(model: str) -> str:
    """The simulator that asks a model as it was trained, by the model's name."""
    if not model:
        raise UsageError(
            "The simulator auto needs a model.", hint="Name one with --simulator-model PROVIDER/MODEL."
        )
    return "mirrorapi" if "mirrorapi" in model.lower() else "llm"


def _endpoints(model: str, settings: Settings, urls: Sequence[str]) -> tuple[Endpoint, ...]:
    if not urls:
        return (endpoint_of(model, settings),)
    provider, _, name = model.partition("/")
    if not provider or not name:
        raise UsageError(f"{model!r} does not name a model.", hint="Write PROVIDER/MODEL, such as vllm/qwen.")
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is not a valid URL.", hint="Use the form http://HOST:PORT/v1.")
    _, key = settings.provider(provider)
    return tuple(
        Endpoint(url.rstrip("/"), key, "--simulator-endpoint", f"{provider.upper()}_API_KEY") for url in urls
    )
