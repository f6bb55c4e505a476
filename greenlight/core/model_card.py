"""The model card: what a model is, what it is for, how good it is and how sure that is, and where it fails.

Sections and order after Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. Made from the evaluation and the
verdict alone, so that it is there for every version and the same for the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenlight.core.bounds import t_quantile
from greenlight.core.check import number
from greenlight.core.verdict import Verdict

METRICS = (
    ("roc_auc", "ROC AUC"),
    ("average_precision_lift", "average precision over base rate"),
    ("log_loss", "log loss"),
    ("log_loss_ratio", "log loss over that of the base rate"),
    ("calibration_error", "calibration error"),
    ("calibration_gap", "mean forecast less share that happened"),
)
SIDES = 0.975  # of the intervals: 95 %, two-sided


@dataclass(frozen=True)
class Table:
    """Rows of text under headings."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Part:
    """A section of the card: its heading, sentences, and perhaps a table."""

    title: str
    lines: tuple[str, ...] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Card:
    """A model card."""

    title: str
    parts: tuple[Part, ...]

    def markdown(self) -> str:
        """As a page of Markdown."""
        found = [f"# {self.title}"]
        for part in self.parts:
            found.append(f"## {part.title}")
            if part.lines:
                found.append("\n".join(f"- {line}" for line in part.lines))
            if part.table and part.table.rows:
                lines = [
                    "| " + " | ".join(part.table.head) + " |",
                    "| " + " | ".join("---" for _ in part.table.head) + " |",
                ]
                lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in part.table.rows]
                found.append("\n".join(lines))
        return "\n\n".join(found) + "\n"


def card(verdict: Verdict, metrics: Mapping[str, Any], evaluation: Mapping[str, Any], about: Mapping[str, str]) -> Card:
    """The card of a candidate.

    Parameters
    ----------
    verdict : Verdict
    metrics, evaluation : mapping
        Contents of metrics.json and evaluation.json, complete as the evaluate stage writes them.
    about : mapping of str to str
        What the dataset says of itself: ``use``, ``not_for``, ``data``, ``limits``; each may be left out.
    """
    model = evaluation["models"]["candidate"]
    return Card(
        f"{verdict.dataset}, trained for {verdict.period}",
        (
            _details(verdict, model),
            _use(about),
            _data(metrics, evaluation, about),
            _quality(metrics, evaluation),
            _comparison(verdict, evaluation),
            _slices(evaluation),
            _groups(evaluation),
            _behaviour(evaluation),
            _caveats(verdict, about),
        ),
    )


def _details(verdict: Verdict, model: Mapping[str, Any]) -> Part:
    size = model.get("bytes")
    lines = [
        f"Gradient boosted trees (XGBoost): {model['trees']} trees" + (f", {size / 1e6:.2f} MB." if size else "."),
        f"SHA-256 of the booster: {model['sha256']}.",
        f"Trained on {model['device']}, seed {model.get('seed')}.",
        f"Decides from a probability of {model.get('threshold')} on.",
        verdict.summary(),
    ]
    return Part("Model", tuple(lines))


def _use(about: Mapping[str, str]) -> Part:
    lines = [about.get("use", "The dataset does not say what it is for.")]
    if about.get("not_for"):
        lines.append(f"Not for: {about['not_for']}")
    return Part("Intended use", tuple(lines))


def _data(metrics: Mapping[str, Any], evaluation: Mapping[str, Any], about: Mapping[str, str]) -> Part:
    model, holdout = evaluation["models"]["candidate"], metrics["holdout"]
    rows, time = model.get("rows") or {}, evaluation.get("time") or {}
    trained = model["trained_on"]
    table = [
        ("trained on", f"{trained[0]} to {trained[-1]}", _count(rows.get("train")), _days(time.get("train"))),
        ("stopped on", model["stopped_on"], _count(rows.get("stop")), _days(time.get("stop"))),
        ("held out", holdout["period"], _count(holdout["rows"]), _days(time.get("holdout"))),
    ]
    rate = holdout.get("base_rate")
    lines = [about["data"]] if about.get("data") else []
    lines.append(f"Of the rows held out {'–' if rate is None else f'{100 * rate:.1f} %'} are positive.")
    return Part("Data", tuple(lines), Table(("part", "periods", "labelled rows", "days"), tuple(table)))


def _quality(metrics: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Part:
    sure = evaluation["uncertainty"]
    unit = sure["clustered_by"] or "row"
    rows = []
    for key, words in METRICS:
        cells = [words]
        for model in ("candidate", "champion"):
            value = (metrics.get(model) or {}).get(key)
            se = ((sure["models"].get(model) or {}).get(key) or {}).get("se")
            cells.append(_interval(value, se, sure["clusters"]))
        rows.append(tuple(cells))
    said = (
        f"Rows of a {unit} move together: intervals of 95 % are counted over {sure['clusters']} {unit}s."
        if sure["clustered_by"]
        else f"Rows are taken for independent: no cluster is declared; {sure['clusters']:,} of them."
    )
    return Part("Quality on the rows held out", (said,), Table(("metric", "this model", "champion"), tuple(rows)))


def _comparison(verdict: Verdict, evaluation: Mapping[str, Any]) -> Part:
    if not evaluation["models"].get("champion"):
        return Part("Beside the champion", ("There was no champion to compare with.",))
    told = [check.explanation for check in verdict.checks if check.name in ("champion_roc_auc", "champion_log_loss")]
    return Part("Beside the champion", tuple(told))


def _slices(evaluation: Mapping[str, Any]) -> Part:
    rows = [
        (
            f"{row['column']} {row['value']}",
            _count(row["rows"]),
            f"{100 * row['positives'] / row['rows']:.1f} %",
            _area(row),
        )
        for row in sorted(evaluation["slices"], key=lambda row: (row["column"], -row["rows"], row["value"]))
    ]
    found = evaluation.get("found") or {}
    weak = [f"{row['name']}: {_area(row)}" for row in found.get("rows", [])[:5]]
    which = "Where it lost most to the champion" if evaluation["models"].get("champion") else "The weakest"
    head = f"{which}, of {found.get('looked_at', 0):,} slices that a search looked at"
    lines = [f"{head}: {'; '.join(weak)}."] if weak else []
    return Part("Slices", tuple(lines), Table(("slice", "rows", "positive", "ROC AUC"), tuple(rows)))


def _groups(evaluation: Mapping[str, Any]) -> Part:
    rows = [
        (f"{column['column']}, {measure.replace('_', ' ')}", " and ".join(its["between"]), number(its["difference"]))
        for column in evaluation.get("groups") or []
        for measure, its in column["apart"].items()
    ]
    if not rows:
        return Part("Groups of people", ("The dataset declares no protected groups.",))
    return Part("Groups of people", (), Table(("measure", "furthest apart", "difference"), tuple(rows)))


def _behaviour(evaluation: Mapping[str, Any]) -> Part:
    found = evaluation.get("behaviour") or {}
    legal = found.get("legal") or {}
    lines = [
        f"{legal.get('tried', 0)} odd but legal requests tried, {len(legal.get('unanswered', []))} without an answer."
    ]
    for row in found.get("invariances", []):
        lines.append(f"{row['name']}: no probability moves by more than {number(row['largest_change'])}.")
    for row in found.get("directions", []):
        lines.append(f"{row['name']}: the mean probability changes by {row['mean_effect']:+.3f}.")
    return Part("Behaviour", tuple(lines))


def _caveats(verdict: Verdict, about: Mapping[str, str]) -> Part:
    lines = [about["limits"]] if about.get("limits") else []
    for check in (*verdict.failed, *verdict.undecided, *verdict.overridden):
        by = f" by {check.overridden_by}" if check.override else ""
        lines.append(f"{check.name} {check.mark}{by}: {check.explanation}")
    for check in verdict.checks:
        if watched := check.evidence.get("watched"):
            lines.append(f"To be watched ({check.name}): {', '.join(map(str, watched))}.")
        if untested := check.evidence.get("not_tested"):
            lines.append(f"Too small to test ({check.name}): {', '.join(map(str, untested))}.")
    lines.append("A holdout is one period: the next one can differ from it by more than its intervals say.")
    return Part("Limits", tuple(dict.fromkeys(lines)))


def _interval(value: float | None, se: float | None, clusters: int) -> str:
    if value is None:
        return "–"
    if se is None or clusters < 2:
        return number(value)
    reach = t_quantile(SIDES, clusters - 1) * se
    return f"{value:.3f} ({value - reach:.3f} to {value + reach:.3f})"


def _area(row: Mapping[str, Any]) -> str:
    """ROC AUC of a slice; an interval that leaves 0 to 1 says that the slice is too small for one."""
    value, se, clusters = row["roc_auc"].get("candidate"), row["se"].get("candidate"), row["clusters"]
    if value is None or se is None or clusters < 2:
        return "–" if value is None else f"{value:.3f}"
    reach = t_quantile(SIDES, clusters - 1) * se
    return (
        _interval(value, se, clusters) if value - reach >= 0 and value + reach <= 1 else f"{value:.3f} (too few rows)"
    )


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _days(found: Mapping[str, str] | None) -> str:
    return f"{found['first']} to {found['last']}" if found else "–"
