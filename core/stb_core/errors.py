"""Every error that the project raises, in one tree.

    StbError                    exit code 1
    ├── UsageError              exit code 2: the person asked for something impossible
    │   ├── NotFoundError       a dataset, run, group, query, agent or path that is not there
    │   └── ConflictError       the name is taken by something else
    ├── FormatError             a file or body from outside is not in the form it claims
    ├── CallError               a tool call cannot be identified: its arguments are unusable
    ├── StoreError              the store cannot be opened, read or written
    ├── ServiceError            a server, ours or not, does not answer as agreed
    └── ModelError              a language model gave nothing usable
        ├── ModelUnavailableError   refused, overloaded or unreachable after all retries
        ├── RequestRefusedError     this request is not accepted: too long, for example, or not supported
        └── UnreadableReplyError    it answered, but not in the form asked for

An error says what happened, to which object, and in its ``hint`` what to do now.
Foreign exceptions are turned into these once, where they enter.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, Literal

from stb_core.usage import Usage

RefusalReason = Literal["", "context_exceeded", "content_filter"]
"""The conversation is longer than the model's context, a filter blocked it, or "" for anything else."""


class StbError(Exception):
    """An error with a message of one line and, where there is one, a hint of what to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(StbError):
    """The command or request is impossible as it was given."""

    exit_code = 2


class NotFoundError(UsageError):
    """Something that was named does not exist."""


class ConflictError(UsageError):
    """A name is already taken by something different."""


class FormatError(StbError):
    """A file or body from outside is not in the form that it claims to have."""


class CallError(StbError):
    """A tool call whose arguments cannot be turned into an identity."""


class StoreError(StbError):
    """The store cannot be opened, read or written."""


class StoreUnreachableError(StoreError):
    """The store's database server does not answer, or is still starting."""


class ServiceError(StbError):
    """A server does not answer, or not as agreed: an infrastructure fault, never an agent's failure.

    ``usage`` is what its simulator consumed for the call all the same.
    """

    def __init__(self, message: str, *, hint: str = "", usage: Usage | None = None) -> None:
        super().__init__(message, hint=hint)
        self.usage = usage


class ModelError(StbError):
    """A language model gave nothing usable.

    ``usage`` is what its replies cost until then, as far as known.
    """

    def __init__(self, message: str, *, hint: str = "", usage: Usage | None = None) -> None:
        super().__init__(message, hint=hint)
        self.usage = usage

    def add_usage(self, usage: Usage) -> None:
        """Count what earlier replies to the same question cost."""
        self.usage = usage if self.usage is None else usage + self.usage


class ModelUnavailableError(ModelError):
    """The endpoint refused, was overloaded or could not be reached, after all retries."""


class RequestRefusedError(ModelError):
    """The endpoint does not accept this request; repeating it will not help.

    ``reason`` is ``context_exceeded``, ``content_filter``, or "" for anything else: of a kind that the
    endpoint does not support, say.
    """

    def __init__(
        self, message: str, *, hint: str = "", usage: Usage | None = None, reason: RefusalReason = ""
    ) -> None:
        super().__init__(message, hint=hint, usage=usage)
        self.reason: RefusalReason = reason


class UnreadableReplyError(ModelError):
    """The model answered, but not in the form that was asked for.

    ``reply`` is what it said last.
    """

    def __init__(self, message: str, *, reply: str = "", hint: str = "", usage: Usage | None = None) -> None:
        super().__init__(message, hint=hint, usage=usage)
        self.reply = reply


def suggest_near(name: str, known: Iterable[str]) -> str:
    """For the hint of a ``NotFoundError``: the known name that is most like one that is not, or "" if none is."""
    near = difflib.get_close_matches(name, set(known), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""
