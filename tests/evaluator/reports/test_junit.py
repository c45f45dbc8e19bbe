"""JUnit XML: what a build server shows of a run."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from stb_evaluator.reports.content import Report
from stb_evaluator.reports.junit import as_junit


def report(*queries: tuple[str, str, str, float | None]) -> Report:
    rows = [
        {"run": run, "group": group, "query_id": name, "value": value} for run, group, name, value in queries
    ]
    return Report("R & D", [], [], [], [], [], [], queries=rows)


def test_every_query_of_a_run_is_a_test_case() -> None:
    """A suite per run and group; under 50 % it failed, without a score it is an error."""
    made = as_junit(
        report(
            ("r", "G1", "1", 100.0),
            ("r", "G1", "2", 33.3),
            ("r", "G2", "3", 50.0),
            ("s", "G2", "3", None),
        )
    )

    found = ET.fromstring(made)
    suites = {suite.get("name"): suite for suite in found}
    assert made.startswith(b"<?xml version='1.0' encoding='utf-8'?>")
    assert (found.get("name"), list(suites)) == ("R & D", ["r.G1", "r.G2", "s.G2"])
    assert [found.get(count) for count in ("tests", "failures", "errors")] == ["4", "1", "1"]
    assert [len(case) for suite in found for case in suite] == [0, 1, 0, 1]
    assert suites["r.G1"][1][0].attrib == {"message": "scored 33.3 %, less than 50 %"}
    assert (suites["s.G2"][0][0].tag, suites["s.G2"][0].get("classname")) == ("error", "s.G2")


def test_names_that_xml_cannot_hold_are_replaced() -> None:
    """A control character or half a character would make the whole file unreadable."""
    found = ET.fromstring(as_junit(report(("r<\x00\ud800", "G1\n", "\x1b[31m", 0.0))))

    assert found[0].get("name") == "r<\ufffd\ufffd.G1\n"
    assert found[0][0].get("name") == "\ufffd[31m"
