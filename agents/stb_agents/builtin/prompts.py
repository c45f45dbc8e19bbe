"""Prompts that users give in files."""

from __future__ import annotations

from pathlib import Path

from stb_core.errors import FormatError, NotFoundError


def read_prompt(path: Path) -> str:
    """The text of a prompt file, without the line break at its end.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is empty, or not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8").rstrip("\n")
    except FileNotFoundError:
        raise NotFoundError(f"There is no prompt file {path}.", hint="Check its path.") from None
    except (OSError, UnicodeDecodeError) as problem:
        reason = " ".join(str(problem).split())
        raise FormatError(f"The prompt file {path} cannot be read: {reason}.") from None
    if not text.strip():
        raise FormatError(f"The prompt file {path} is empty.", hint="Write the prompt into it.")
    return text
