"""The contract on one page: what does not hold, what it looks like in pictures and rows, whom to ask.

Self-contained and without a script; the same check gives the same bytes. Data Docs have every expectation, this has
what a person needs at the moment of a "no".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from greenlight.adapters import contract_pictures
from greenlight.adapters.data_docs import measures_of, summaries
from greenlight.adapters.expectations import Checked
from greenlight.adapters.pages import environment
from greenlight.core.contract import show
from greenlight.core.contract_report import Failure, cell, headline

TEMPLATE = "contract_page.html.j2"
MAX_SHOWN = 12  # expectations shown of each kind
MAX_PERIODS = 12  # rows of an expectation's table


@dataclass(frozen=True)
class Broken:
    """One expectation that does not hold, with everything that is shown of it."""

    name: str
    severity: str
    reason: str
    limit: str
    owner: str
    failures: Sequence[Failure]
    more: int
    examples: Sequence[Mapping[str, Any]]
    unexpected: int
    pictures: Sequence[tuple[str, Markup]]


def render(checked: Checked, *, title: str = "") -> str:
    """The page as text.

    Parameters
    ----------
    checked : Checked
        The check.
    title : str
        What was checked, where it is no snapshot: a file's name.
    """
    report = checked.report
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            title=title,
            headline=headline(report),
            stops=_broken(checked, report.failures),
            warnings=_broken(checked, report.warnings),
            tables=summaries(report),
            owners=_owners(checked),
            measures=measures_of(report),
            show=show,
            cell=cell,
            most=MAX_SHOWN,
        )
    )


def _broken(checked: Checked, failures: Sequence[Failure]) -> list[Broken]:
    """The failures by expectation, in the order of declaration."""
    found = []
    for place, name in enumerate(dict.fromkeys(failure.expectation for failure in failures)):
        own = [failure for failure in failures if failure.expectation == name]
        worst = max(own, key=lambda failure: failure.share)
        pictures = checked.evidence.get(name, ()) if place < MAX_SHOWN else ()
        found.append(
            Broken(
                name=name,
                severity=worst.severity,
                reason=worst.reason,
                limit=worst.limit,
                owner=worst.owner,
                failures=own[:MAX_PERIODS],
                more=len(own) - MAX_PERIODS,
                examples=worst.examples,
                unexpected=worst.unexpected,
                pictures=[
                    (
                        contract_pictures.words(picture),
                        Markup(contract_pictures.draw(f"{worst.severity}{place}-{n}", picture)),
                    )
                    for n, picture in enumerate(pictures)
                ],
            )
        )
    return found


def _owners(checked: Checked) -> list[tuple[str, int, int]]:
    """Who answers for how many expectations, and how many of them do not hold."""
    owners = sorted({outcome.owner for outcome in checked.report.outcomes})
    return [
        (
            owner,
            sum(o.owner == owner for o in checked.report.outcomes),
            sum(o.owner == owner and o.state == "broken" for o in checked.report.outcomes),
        )
        for owner in owners
    ]
