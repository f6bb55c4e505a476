"""Late truth: labels from a file, by prediction id, by key or by what was asked; and how far predictions have them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ValidationError, create_model

from greenlight import datasets
from greenlight.adapters.label_book import LabelBook
from greenlight.adapters.prediction_log import PredictionLog
from greenlight.core.label_book import Taken, is_prediction_id
from greenlight.core.prediction_record import HIDDEN
from greenlight.errors import UsageError
from greenlight.wiring import Project

LABEL, ID, KEY = "label", "prediction_id", "key"
TRUE, FALSE = ("true", "1", "1.0"), ("false", "0", "0.0")
SHOWN = 5


@dataclass(frozen=True)
class Labelled:
    """What became of a file of labels.

    Attributes
    ----------
    rows : int
        Of the file.
    by : tuple of str
        Columns by which predictions were found.
    predictions : int
        That the rows are about.
    accepted, known : int
        Labels that are new, and those that were there.
    contradicting : list of dict
        Not applied: ``prediction_id``, ``kept``, ``sent``.
    unmatched : int
        Rows about which there is no prediction.
    ambiguous : int
        Rows left out because the file itself says both of the same.
    """

    rows: int
    by: tuple[str, ...]
    predictions: int
    accepted: int
    known: int
    contradicting: list[dict[str, Any]] = field(default_factory=list)
    unmatched: int = 0
    ambiguous: int = 0

    @property
    def exit_code(self) -> int:
        """1 when a label contradicts another."""
        return 1 if self.contradicting or self.ambiguous else 0

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def take_file(project: Project, path: Path) -> Labelled:
    """Take the labels of a CSV or Parquet file. May be repeated; the first label of a prediction counts.

    Parameters
    ----------
    path : Path
        Columns: ``label`` (true or false, 1 or 0), and either ``prediction_id``, or ``key`` (the header
        ``x-greenlight-key`` of the request), or columns of the request that say which predictions are meant. A row by
        key or by columns labels every prediction that it fits.

    Raises
    ------
    UsageError
        The file cannot be read, or is not of that shape.
    StorageFailed
        The labels cannot be written.
    """
    frame = _read(path)
    by = _by(project, frame, path)
    wanted = _values(frame, path)
    ambiguous = 0
    if by == (ID,):
        _check_ids(frame, path)
        pairs = list(zip(frame[ID].to_list(), wanted, strict=True))
        unmatched = 0
    else:
        names = _names(project, frame, by, path)
        said: dict[str, set[bool]] = {}
        for name, label in zip(names, wanted, strict=True):
            said.setdefault(name, set()).add(label)
        ambiguous = sum(1 for name in names if len(said[name]) > 1)
        found = _predictions(project, by, {name for name, labels in said.items() if len(labels) == 1})
        pairs = [(one, next(iter(said[name]))) for name, ids in found.items() for one in ids]
        unmatched = sum(1 for name in names if name not in found and len(said[name]) == 1)
    taken = LabelBook(project.settings.home).take(pairs)
    return Labelled(frame.height, by, len(pairs), taken.accepted, taken.known, _against(taken), unmatched, ambiguous)


def _against(taken: Taken) -> list[dict[str, Any]]:
    return [asdict(one) for one in taken.contradictions]


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise UsageError("there is no such file", where=str(path))
    try:
        if path.suffix.lower() == ".csv":
            # As text: what a value means is the request's to say, and 007 is not 7.
            return pl.read_csv(path, infer_schema=False, glob=False)
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as exc:
        first = (str(exc).strip().splitlines() or [repr(exc)])[0]
        raise UsageError(f"neither CSV nor Parquet: {first[:300]}", where=str(path)) from exc


def _by(project: Project, frame: pl.DataFrame, path: Path) -> tuple[str, ...]:
    """The columns by which predictions are found."""
    rest = [name for name in frame.columns if name != LABEL]
    fields = datasets.load(project.params.dataset).request.Row.model_fields
    if LABEL not in frame.columns or not rest:
        raise UsageError(
            f"labels need the column {LABEL!r} and one that says of what; found {', '.join(frame.columns) or 'none'}",
            where=str(path),
            todo=f"add {LABEL} and {ID}, or {KEY}, or columns of the request",
        )
    if rest in ([ID], [KEY]):
        return (rest[0],)
    unknown = [name for name in rest if name not in fields]
    if unknown:
        raise UsageError(
            f"not a column of a request: {', '.join(unknown[:SHOWN])}",
            where=str(path),
            todo=f"{LABEL} stands beside {ID} alone, {KEY} alone, or any of: {', '.join(fields)}",
        )
    return tuple(rest)


def _values(frame: pl.DataFrame, path: Path) -> list[bool]:
    texts = [None if value is None else str(value).strip().lower() for value in frame[LABEL].to_list()]
    wrong = [i for i, text in enumerate(texts) if text not in TRUE + FALSE]
    if wrong:
        raise UsageError(
            f"{len(wrong)} of {len(texts)} labels are neither true, false, 1 nor 0; row {wrong[0]}: "
            f"{frame[LABEL][wrong[0]]!r}",
            where=str(path),
            todo="correct them, or leave those rows out until their truth is known; nothing was taken",
        )
    return [text in TRUE for text in texts]


def _check_ids(frame: pl.DataFrame, path: Path) -> None:
    wrong = [i for i, name in enumerate(frame[ID].to_list()) if not isinstance(name, str) or not is_prediction_id(name)]
    if wrong:
        raise UsageError(
            f"{len(wrong)} of {frame.height} are no prediction ids; row {wrong[0]}: {frame[ID][wrong[0]]!r}",
            where=str(path),
            todo="take prediction_id from the answers of POST /predict; nothing was taken",
        )


def _names(project: Project, frame: pl.DataFrame, by: tuple[str, ...], path: Path) -> list[str]:
    """What each row of the file is about, in one form whatever way it was written."""
    if by == (KEY,):
        return [str(value) for value in frame[KEY].to_list()]
    shape = _shape(project, by)
    names = []
    for i, row in enumerate(frame.select(by).iter_rows(named=True)):
        given = {name: value for name, value in row.items() if value is not None and value != ""}
        try:
            names.append(shape.model_validate(given).model_dump_json())
        except ValidationError as exc:
            error = exc.errors()[0]
            raise UsageError(
                f"row {i}, {'.'.join(map(str, error['loc']))}: {error['msg']}",
                where=str(path),
                todo="correct it; nothing was taken",
            ) from exc
    return names


def _shape(project: Project, by: tuple[str, ...]) -> type[BaseModel]:
    """The columns `by` of a request, with the request's own types."""
    dataset = datasets.load(project.params.dataset)
    hidden = sorted(set(by) & dataset.private)
    if hidden or project.settings.prediction_features != "all":
        raise UsageError(
            f"{', '.join(hidden) or 'the columns of a request'}: kept as a hash or not at all, so that no prediction "
            "is found by it",
            todo=f"label by {ID} or by {KEY}",
        )
    fields = dataset.request.Row.model_fields
    wanted: dict[str, Any] = {name: (fields[name].rebuild_annotation(), fields[name].default) for name in by}
    shape: type[BaseModel] = create_model("Named", **wanted)
    return shape


def _predictions(project: Project, by: tuple[str, ...], wanted: set[str]) -> dict[str, list[str]]:
    """Ids of the predictions that each of `wanted` is about; shadow answers too, since the truth is theirs as well."""
    log = PredictionLog(project.settings.home).scan(tables=True).filter(pl.col("probability").is_not_null())
    found: dict[str, list[str]] = {}
    if by == (KEY,):
        pairs = log.filter(pl.col(KEY).is_in(sorted(wanted))).select(KEY, ID).collect().iter_rows()
    else:
        shape = _shape(project, by)
        rows = log.filter(pl.col("row_json").is_not_null()).select("row_json", ID).collect()
        pairs = _named(rows, shape, by)
    for name, prediction in pairs:
        if name in wanted:
            found.setdefault(name, []).append(prediction)
    return found


def _named(rows: pl.DataFrame, shape: type[BaseModel], by: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text, prediction in rows.iter_rows():
        row: Mapping[str, Any] = json.loads(text)
        given = {name: row[name] for name in by if row.get(name) is not None}
        if any(isinstance(value, str) and value.startswith(HIDDEN) for value in given.values()):
            continue  # of a time when it was kept as a hash
        try:
            yield shape.model_validate(given).model_dump_json(), prediction
        except ValidationError:
            continue  # a row of an older version's shape


def coverage(project: Project) -> dict[str, Any]:
    """How many predictions have their label, by version and day, and how long it took.

    Returns
    -------
    dict
        ``days``: one per version, day and kind (``live``, ``shadow``, ``played``, ``table``) with ``predictions``,
        ``labelled``, ``share``, ``delay_p50_s`` and ``delay_p90_s`` (from answer to label; None without labels);
        ``labels``, ``without_prediction``, ``contradicting``: of the whole book.
    """
    book = LabelBook(project.settings.home)
    log = PredictionLog(project.settings.home).scan(tables=True).filter(pl.col("probability").is_not_null())
    labels = book.scan().rename({"at": "labelled_at"})
    kind = pl.when(pl.col("shadow")).then(pl.lit("shadow")).when(pl.col("played")).then(pl.lit("played"))
    kind = kind.when(pl.col("bulk")).then(pl.lit("table"))
    delay = (pl.col("labelled_at") - pl.col("at")) / 1e6
    days = (
        log.join(labels, on=ID, how="left")
        .with_columns(
            pl.from_epoch("at", time_unit="us").dt.strftime("%Y-%m-%d").alias("day"),
            kind.otherwise(pl.lit("live")).alias("kind"),
        )
        .group_by("version", "day", "kind")
        .agg(
            pl.len().alias("predictions"),
            pl.col(LABEL).count().alias("labelled"),
            delay.quantile(0.5).alias("delay_p50_s"),
            delay.quantile(0.9).alias("delay_p90_s"),
        )
        .with_columns((pl.col("labelled") / pl.col("predictions")).alias("share"))
        .sort("version", "day", "kind")
    )
    orphans = labels.join(log.select(ID), on=ID, how="anti").select(pl.len())
    found, without, total, against = pl.collect_all(
        [days, orphans, labels.select(pl.len()), book.contradictions().select(pl.len())]
    )
    return {
        "days": found.to_dicts(),
        "labels": total.item(),
        "without_prediction": without.item(),
        "contradicting": against.item(),
    }
