"""A repeat of a request differs from it, and repeats end."""

from __future__ import annotations

import pytest

from stb_core.llm.protocol import Reply, Request
from stb_core.llm.repeats import MAX_CUT_REPLIES, MAX_REQUESTS, SEED_STEP, Repeats, repeat_request
from stb_core.values.trajectories import Message

FIRST = Request(messages=(Message(role="user", content="?"),), temperature=0.0, seed=3)


def test_the_first_request_is_sent_as_it_is() -> None:
    """Number 0 changes nothing."""
    assert FIRST is repeat_request(FIRST, 0) is Repeats(FIRST).request


@pytest.mark.parametrize(("temperature", "expected"), [(0.0, 0.7), (1.0, 1.0), (None, None)])
def test_a_repeat_has_another_seed_and_is_not_greedy(
    temperature: float | None, expected: float | None
) -> None:
    """A temperature is only set where the request has one."""
    request = repeat_request(FIRST.model_copy(update={"temperature": temperature}), 2)

    assert (3 + 2 * SEED_STEP, expected) == (request.seed, request.temperature)
    assert request.messages == FIRST.messages


@pytest.mark.parametrize(("reason", "limit"), [("stop", MAX_REQUESTS), ("length", MAX_CUT_REPLIES)])
def test_repeats_end(reason: str, limit: int) -> None:
    """Earlier for replies that reach the token limit."""
    repeats, requests = Repeats(FIRST), []
    while (request := repeats.request) is not None:
        requests.append(request)
        repeats.count_unusable(Reply(finish_reason=reason))

    assert [repeat_request(FIRST, number) for number in range(limit)] == requests
    assert limit == repeats.count


def test_repeats_that_a_reply_counts_are_counted() -> None:
    """A recorded reply tells how many were unusable before it."""
    repeats = Repeats(FIRST)

    repeats.count_unusable(Reply(repeats=1))

    assert (2, repeat_request(FIRST, 2)) == (repeats.count, repeats.request)
