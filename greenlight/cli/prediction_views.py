"""How answers about predictions and labels look: plain JSON values in, Rich renderables out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from greenlight.cli.layout import facts_table, figure, moment, plain_table

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 5


def trace_views(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A prediction, where it came from, and what the model was given."""
    yield facts_table(_prediction(found["prediction"], found["label"]) | _origin(found))
    yield ""
    if found["not_rescored"]:
        yield Text(f"not scored once more: {found['not_rescored']}", "yellow")
    elif found["rescored"]["same"]:
        yield Text("scored once more, by the code and the model that served it: the same", "green")
    else:
        again = found["rescored"]
        text = f"scored once more: {again['probability']} {again['decision']}, which is not what the client got"
        yield Text(text, "bold red")
    yield from ("", _row(found["prediction"]["row"] or {}, found["features"]))


def _prediction(one: Mapping[str, Any], label: Mapping[str, Any]) -> dict[str, Any]:
    marks = [name for name in ("shadow", "played") if one[name]]
    answer = "none" if one["probability"] is None else f"{one['probability']:.6f}, decision {one['decision']}"
    return {
        "prediction": one["prediction_id"],
        "answered": f"{one['at']} in {one['ms']:.2f} ms, status {one['status']}",
        "probability": answer,
        "label": f"{label['label']}, taken {moment(label['at'])}" if label else "not known yet",
        "request": one["request_id"],
        "key": one["key"],
        "trace": one["trace_id"],
        "kind": ", ".join(marks),
    }


def _origin(found: Mapping[str, Any]) -> dict[str, Any]:
    contract, data, train = found["contract"], found["params"].get("data", {}), found["params"].get("train", {})
    held = "kept" if contract.get("passed") else f"broken: {', '.join(contract.get('failures', ()))}"
    return {
        "version": found["version"],
        "run": found["run"],
        "commit": found["commit"][:12],
        "as of": f"{data.get('as_of', '')}, {data.get('window_months', '?')} months" if data else "",
        "training": ", ".join(f"{k} {v}" for k, v in train.items() if not isinstance(v, dict)),
        "data": "\n".join(f"{path} {md5}" for path, md5 in found["snapshot"].items()),
        "contract": f"{held}, {contract.get('expectations')} expectations" if contract else "",
        "verdict": found["verdict"].get("summary") or found["verdict"].get("decision", ""),
        "more": f"greenlight show {found['run']}",
    }


def _row(row: Mapping[str, Any], features: Mapping[str, Any]) -> RenderableType:
    grid = plain_table("column", "as sent", "feature", "as served")
    grid.columns[1].overflow = grid.columns[3].overflow = "fold"
    sent = [(name, "-" if value is None else str(value)) for name, value in row.items()]
    given = [(name, figure(value)) for name, value in features.items()]
    for i in range(max(len(sent), len(given))):
        left = sent[i] if i < len(sent) else ("", "")
        right = given[i] if i < len(given) else ("", "")
        grid.add_row(*left, *right)
    return grid


def labelled_view(found: Mapping[str, Any]) -> RenderableType:
    """What became of a file of labels."""
    text = Text(
        f"{found['rows']:,} rows by {', '.join(found['by'])} are about {found['predictions']:,} predictions: "
        f"{found['accepted']:,} labels are new, {found['known']:,} were known"
    )
    if found["unmatched"]:
        text.append(f"\n{found['unmatched']:,} rows are about no prediction that is kept", "yellow")
    if found["ambiguous"]:
        text.append(f"\n{found['ambiguous']:,} rows were left out: the file says both of the same", "bold red")
    against: Sequence[Mapping[str, Any]] = found["contradicting"]
    if against:
        text.append(f"\n{len(against):,} contradict an earlier label and were not applied", "bold red")
    for one in against[:SHOWN]:
        text.append(f"\n  {one['prediction_id']}: {one['kept']} is kept, {one['sent']} was said")
    if len(against) > SHOWN:
        text.append(f"\n  and {len(against) - SHOWN:,} more")
    return text


def coverage_view(found: Mapping[str, Any]) -> RenderableType:
    """How many predictions have their label."""
    if not found["days"]:
        return f"No predictions are kept; {found['labels']:,} labels are."
    grid = plain_table("version", "day", "kind", "predictions", "labelled", "share", "delay p50", "p90")
    for column in grid.columns[3:]:
        column.justify = "right"
    for day in found["days"]:
        delays = [_duration(day[name]) for name in ("delay_p50_s", "delay_p90_s")]
        counts = [f"{day[name]:,}" for name in ("predictions", "labelled")]
        grid.add_row(day["version"], day["day"], day["kind"], *counts, f"{day['share']:.1%}", *delays)
    grid.caption = (
        f"{found['labels']:,} labels; {found['without_prediction']:,} of a prediction that is not kept here; "
        f"{found['contradicting']:,} contradicted an earlier one"
    )
    grid.caption_justify = "left"
    return grid


def summary_view(found: Mapping[str, Any]) -> RenderableType:
    """What is kept of predictions."""
    room = f"{found['bytes'] / 2**20:,.1f} MB of at most {found['limit_mb']:,} MB"
    if not found["limit_mb"]:
        room = f"{found['bytes'] / 2**20:,.1f} MB; nothing is kept now (GREENLIGHT_PREDICTION_LOG_MB=0)"
    if not found["days"]:
        return f"No predictions are kept yet: {room}"
    grid = plain_table("version", "day", "rows", "failed", "shadow", "played", "ms p50", "ms p99")
    for column in grid.columns[2:]:
        column.justify = "right"
    for day in found["days"]:
        counts = [f"{day[name]:,}" for name in ("rows", "failed", "shadow", "played")]
        grid.add_row(day["version"], day["day"], *counts, f"{day['ms_p50']:.2f}", f"{day['ms_p99']:.2f}")
    grid.caption, grid.caption_justify = room, "left"
    return grid


def compaction_view(found: Mapping[str, Any]) -> str:
    """What was made compact."""
    sizes = f"{found['bytes_before'] / 2**20:,.1f} MB became {found['bytes_after'] / 2**20:,.1f} MB"
    text = f"{found['files']:,} files with {found['rows']:,} rows: {sizes}" if found["files"] else "nothing to compact"
    if found["skipped"]:
        text += f"; {found['skipped']:,} lines that a crash cut short were left out"
    if found["merged"]:
        text += f"; {found['merged']:,} small files of a day were merged"
    if found["deleted"]:
        text += f"; the {found['deleted']:,} oldest files went, beyond the limit"
    return text


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
