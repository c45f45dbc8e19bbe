"""Settles ``--text-calls auto``: whether a run reads calls that its model writes as text."""

from __future__ import annotations

from dataclasses import replace

from stb_agents.environment import ServedDataset
from stb_agents.runs.manifest import identify_run
from stb_agents.runs.preparation import PreparedRun
from stb_agents.runs.request import AUTO
from stb_core.cli import console
from stb_core.llm import CallForm, Model, probe_function_calls


async def settle_text_calls(prepared: PreparedRun, served: ServedDataset, model: Model | None) -> PreparedRun:
    """The run with the setting decided, which its manifest then records.

    A run of the same command has decided it, if there is one. Otherwise the model is asked once, and what it did is told.

    Args:
        prepared: the run as it was asked for.
        served: the dataset as the server serves it.
        model: that is asked; None decides for off where no run exists.

    Raises:
        ModelUnavailableError: the model gave no reply.
        StoreError: the runs cannot be read.
    """
    if prepared.request.text_calls != AUTO:
        return prepared
    if not prepared.request.fresh and (earlier := await _of_earlier_run(prepared, served)):
        return earlier
    if model is None:
        return prepared
    probe = await probe_function_calls(model)
    is_on = probe.form is CallForm.TEXT
    reason = f" ({probe.reason})" if probe.reason else ""
    console.print_note(
        f"--text-calls auto: {model.name} was asked once ({probe.usage.total_tokens} tokens):"
        f" {probe.form}{reason}. The run has --text-calls {'on' if is_on else 'off'}."
    )
    return _with_text_calls(prepared, is_on=is_on)


async def _of_earlier_run(prepared: PreparedRun, served: ServedDataset) -> PreparedRun | None:
    """As the only run of the same command has it; None if there is none, or one of each kind."""
    known = {run.manifest.hash for run in await prepared.store.runs.all()}
    both = [_with_text_calls(prepared, is_on=is_on) for is_on in (False, True)]
    found = [one for one in both if identify_run(one, served)[1].hash in known]
    return found[0] if len(found) == 1 else None


def _with_text_calls(prepared: PreparedRun, *, is_on: bool) -> PreparedRun:
    settings = prepared.trial_settings
    sampling = replace(settings.sampling, text_calls=is_on)
    return replace(prepared, trial_settings=replace(settings, sampling=sampling))
