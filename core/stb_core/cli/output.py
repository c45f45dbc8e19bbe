"""The one exit of all output: what would be obeyed is shown, and what the encoding lacks is written in plain words."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from stb_core.values.plain_text import decode_name, escape_control_characters, fit_encoding


class GuardedStream:
    """A text stream that takes any text: no character is obeyed by the terminal, and none is too much for it.

    It has no ``buffer``, so that nobody writes past it.

    Args:
        stream: where the text goes.
        styled: whether escape sequences may pass, since the writer has guarded the texts between them.
    """

    def __init__(self, stream: TextIO, *, styled: bool = False) -> None:
        self._stream = stream
        self._styled = styled

    def write(self, text: str) -> int:
        """Write a text as it can be shown; returns its length."""
        shown = text if self._styled else guard(text)
        self._stream.write(fit_encoding(shown, self._stream.encoding))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write texts, each as ``write`` does."""
        for line in lines:
            self.write(line)

    def allowing_styles(self) -> GuardedStream:
        """The same stream, for a writer that guards its texts itself."""
        return GuardedStream(self._stream, styled=True)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._stream, name)


def guard(text: str) -> str:
    """Text that no terminal obeys; a name that the locale could not decode is decoded."""
    return escape_control_characters(decode_name(text))


def guard_output() -> None:
    """Let everything that this process prints, by whatever means, leave through a ``GuardedStream``."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, GuardedStream):
            setattr(sys, name, GuardedStream(stream))
