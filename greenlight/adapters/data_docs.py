"""Data Docs: the pages in which people read what a contract found.

The sections of each table are rendered by Great Expectations from its own results. The page around them is ours: its
own one loads scripts, styles and fonts from half a dozen hosts and carries the time of rendering. These pages need no
network, no script and no clock; the same results give the same bytes.
"""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenlight.adapters.pages import TEMPLATES, environment
from greenlight.core.batches import COPIES, CORRECTIONS, FRESHNESS, NULLS
from greenlight.core.contract import COLUMNS, FILES, show
from greenlight.core.contract_report import ContractReport, Failure, cell, headline
from greenlight.core.relations import RELATIONS

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.render import RenderedDocumentContent

    from greenlight.adapters.expectations import Checked

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
PURPOSE = {
    FILES: "Every file of the snapshot: is it there, can it be read, does it hold rows",
    COLUMNS: "Every column of every file: is it there, and of the declared type",
    "months": "One row of figures per month: volumes, shares, coverage, units, distances from the earlier months",
    NULLS: "One row per month and column: the share of nulls, against the highest of the earlier months",
    COPIES: "One row per month and table: the share of its rows that stand in an earlier month, but for the date",
    FRESHNESS: "One row per month and table: days from the newest row to the month's end",
    RELATIONS: "One row per month and relation that the earlier months kept: how far it is above what they allow",
    CORRECTIONS: "One row per month and table that the champion's run had too: rows that are different now",
}


@dataclass(frozen=True)
class Summary:
    """How one table's expectations ended, for the navigation."""

    table: str
    page: str
    purpose: str
    held: int
    broken: int
    warned: int
    skipped: int


@dataclass(frozen=True)
class Measure:
    """One figure over the months: its limits and what was seen, newest month last."""

    name: str
    limit: str
    cells: tuple[tuple[str, str], ...]  # text and state: "", "broken" or "warned"


def render(checked: Checked) -> dict[str, str]:
    """The pages of a report.

    Returns
    -------
    dict[str, str]
        HTML by file name; ``index.html`` is the entry, ``<table>.html`` has each expectation of a table.
    """
    from great_expectations.render.view import DefaultJinjaPageView

    report = checked.report
    tables = summaries(report)
    common = {
        "report": report,
        "headline": headline(report),
        "tables": tables,
        "show": show,
        "cell": cell,
    }
    pages = {"index.html": _index(common, report)}
    view = DefaultJinjaPageView(custom_views_directory=str(TEMPLATES))  # one for all: it compiles its templates
    for summary in tables:
        if summary.table in checked.results:
            document = _document(checked.results[summary.table], report, summary.table)
            pages[summary.page] = _table_page(view, document, summary, common)
    return pages


def summaries(report: ContractReport) -> list[Summary]:
    """How the expectations of each table ended, in the order of declaration."""
    return [_summary(report, table) for table in dict.fromkeys(outcome.table for outcome in report.outcomes)]


def _index(common: Mapping[str, Any], report: ContractReport) -> str:
    page = environment().get_template("data_docs_index.html.j2")
    return page.render(**common, current="index.html", title=report.contract, measures=measures_of(report))


def _table_page(view: Any, document: RenderedDocumentContent, summary: Summary, common: Mapping[str, Any]) -> str:
    report: ContractReport = common["report"]
    page = view.render(
        document,
        template="data_docs_table.html.j2",
        **common,
        summary=summary,
        current=summary.page,
        title=summary.table,
        failures=_of(report.failures, summary.table),
        warnings=_of(report.warnings, summary.table),
    )
    return _without_random_ids(page)


def _document(result: ExpectationSuiteValidationResult, report: ContractReport, table: str) -> RenderedDocumentContent:
    """The engine's document of a table without its first section (links to pages that do not exist) and its last
    (run info), the failed sections first.
    """
    from great_expectations.render.renderer import ValidationResultsPageRenderer

    broken = {
        outcome.columns[0] if len(outcome.columns) == 1 else "Table-Level Expectations"
        for outcome in report.outcomes
        if outcome.table == table and outcome.state == "broken"
    }
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(_escaped(result))
    document.sections = sorted(document.sections[1:-1], key=lambda section: section.section_name not in broken)
    return document


def _escaped(result: ExpectationSuiteValidationResult) -> ExpectationSuiteValidationResult:
    """A copy in which no value of the data is markup: the engine (1.24.1) puts sampled values into its tables raw."""
    safe = copy.deepcopy(result)
    for found in safe.results:
        found.result = _escape(found.result)
        found.expectation_config.description = html.escape(found.expectation_config.description)
    return safe


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, Mapping):
        return {_escape(key): _escape(item) for key, item in value.items()}
    return [_escape(item) for item in value] if isinstance(value, list | tuple) else value


def _without_random_ids(page: str) -> str:
    """Element ids by order of appearance instead of at random."""
    ids: dict[str, str] = {}
    return UUID.sub(lambda match: ids.setdefault(match[0], f"id-{len(ids) + 1}"), page)


def _summary(report: ContractReport, table: str) -> Summary:
    own = [outcome for outcome in report.outcomes if outcome.table == table]
    return Summary(
        table=table,
        page=f"{table}.html",
        purpose=PURPOSE.get(table, f"The rows of {table}"),
        held=sum(o.state == "held" for o in own),
        broken=sum(o.state == "broken" and o.severity == "stop" for o in own),
        warned=sum(o.state == "broken" and o.severity == "warn" for o in own),
        skipped=sum(o.state == "skipped" for o in own),
    )


def measures_of(report: ContractReport) -> list[Measure]:
    """The months' figures that have a limit, then those without."""
    limits = {o.columns[0]: o.limit for o in report.outcomes if o.table == "months" and o.severity == "stop"}
    states = {(f.columns[0], f.period): "warned" for f in _of(report.warnings, "months")}
    states |= {(f.columns[0], f.period): "broken" for f in _of(report.failures, "months")}
    names = [name for row in report.measures[:1] for name in row if name != "period"]
    return [
        Measure(
            name=name,
            limit=limits.get(name, ""),
            cells=tuple(
                ("" if row[name] is None else show(row[name]), states.get((name, str(row["period"])), ""))
                for row in report.measures
            ),
        )
        for name in sorted(names, key=lambda name: (name not in limits, names.index(name)))
    ]


def _of(failures: Sequence[Failure], table: str) -> list[Failure]:
    return [failure for failure in failures if failure.table == table]
