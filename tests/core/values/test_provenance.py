"""The table of cache modes is the only place that says what a mode does."""

from pathlib import Path

from stb_core.values.provenance import DEFAULT_MODE, MODES, CacheMode, Source, is_frozen, modes_that_ask

PAGE = Path(__file__).parents[3] / "docs" / "cache-and-server.md"


def test_the_default_mode_answers_from_recordings_alone() -> None:
    """Whoever names no mode gets answers that do not change."""
    assert DEFAULT_MODE is CacheMode.REPLAY
    assert MODES[DEFAULT_MODE].is_frozen


def test_only_modes_without_sources_are_frozen() -> None:
    """A manifest names the recorded answers in these modes only; a word that is not a mode is none of them."""
    assert ["replay"] == [name for name in (*CacheMode, "imported") if is_frozen(name)]


def test_help_texts_name_the_modes_that_ask_a_source() -> None:
    """As the options --upstream and --simulator show them."""
    assert "auto, record, live, refresh" == modes_that_ask(Source.REAL_API)
    assert "auto, simulate, refresh" == modes_that_ask(Source.SIMULATOR)


def test_the_page_shows_the_rules_of_every_mode() -> None:
    """The table of modes in the documentation has a row per mode, in the words of its rules."""
    rows = [
        f"| `{mode.value}`{' (default)' if mode is DEFAULT_MODE else ''} "
        f"| {rules.answered_by} | {rules.kept} |"
        for mode, rules in MODES.items()
    ]
    assert "\n".join(rows) in PAGE.read_text(encoding="utf-8")
