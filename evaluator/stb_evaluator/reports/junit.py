"""Reports as JUnit XML, which build servers show: one test case per run and query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree as ET

from stb_core.values import score_text
from stb_evaluator.reports.content import Report
from stb_evaluator.scores import ResultRow

PASSED = 50.0
"""A query passes if its score over all trials and rounds is at least this, in percent."""

# XML has no place for these, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(report: Report) -> bytes:
    """A suite per run and group. A query under 50 % is a failure, one without a score an error."""
    suites = ET.Element("testsuites", name=_clean(report.title))
    for (run, group), rows in groupby(report.queries, key=lambda row: (row["run"], row["group"])):
        suites.append(_suite(f"{run}.{group}", list(rows)))
    for count in ("tests", "failures", "errors"):
        suites.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suite(name: str, rows: Sequence[ResultRow]) -> ET.Element:
    failures = sum(row["value"] is not None and row["value"] < PASSED for row in rows)
    errors = sum(row["value"] is None for row in rows)
    counts = {"tests": str(len(rows)), "failures": str(failures), "errors": str(errors)}
    suite = ET.Element("testsuite", {"name": _clean(name), **counts})
    for row in rows:
        case = ET.SubElement(suite, "testcase", classname=_clean(name), name=_clean(row["query_id"]))
        if row["value"] is None:
            message = "not scored: verdicts are missing, or the trial was lost to infrastructure"
            ET.SubElement(case, "error", message=message)
        elif row["value"] < PASSED:
            ET.SubElement(
                case, "failure", message=f"scored {score_text(row['value'])} %, less than {PASSED:g} %"
            )
    return suite


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
