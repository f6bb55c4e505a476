"""Rows in tables are checked as rows in JSON are: the two say the same of the same rows."""

from __future__ import annotations

import datetime as dt
import io
from typing import Annotated, Any, Literal

import numpy as np
import orjson
import polars as pl
import pytest
import serving_kit as kit
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from bentos.classifier import arrow_stream
from bentos.classifier.columns import columns_of
from bentos.classifier.frames import RowCheck
from bentos.classifier.problems import Problem

REQUEST = kit.DATASET.request
CHECK = RowCheck(REQUEST.Row)


class Other(BaseModel):
    """A row of every kind that the example's has not, with a rule that only its class knows."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    day: dt.date
    seen: AwareDatetime | None = None
    open: bool
    size: Literal["small", "large"] = "small"
    tags: list[int] = []
    step: Annotated[int, Field(multiple_of=5)] = 5


class Ruled(BaseModel):
    low: float
    high: float

    @field_validator("high")
    @classmethod
    def _above(cls, value: float, info: Any) -> float:
        if "low" in info.data and value < info.data["low"]:
            raise ValueError("should not be below low")
        return value


def refused(check: RowCheck, frame: pl.DataFrame) -> set[int]:
    """Rows that are refused."""
    try:
        check.checked(frame, 0)
    except Problem as problem:
        return {detail["row"] for detail in problem.details} if problem.more == 0 else {-1}
    return set()


TEXTS = st.sampled_from(["UA", "AA", "ua", "", "EWR", "JFK", "N14228", "é", "U\n", "UA ", None])
NUMBERS = st.none() | st.floats() | st.sampled_from([0.0, 1e-300, 1.0, 12_500.0, 12_500.1, 9999.0])
WHOLE = st.none() | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 9999, 10_000])
MOMENTS = st.none() | st.datetimes()


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "carrier": TEXTS,
                "origin": TEXTS,
                "tailnum": TEXTS,
                "distance": NUMBERS,
                "temp": NUMBERS,
                "flight": WHOLE,
                "scheduled_departure": MOMENTS,
            },
        ),
        min_size=1,
        max_size=2,  # so that all that is wrong is listed
    )
)
def test_a_table_is_refused_where_its_rows_would_be(changes: list[dict[str, Any]]) -> None:
    plain = REQUEST.Row.model_validate(REQUEST.EXAMPLE).model_dump()
    rows = [{**plain, **change} for change in changes]
    types = {**dict.fromkeys(REQUEST.STRINGS, pl.String), **dict.fromkeys((*REQUEST.WEATHER, "distance"), pl.Float64)}
    types |= {"flight": pl.Int64, "scheduled_departure": pl.Datetime("us"), "scheduled_arrival": pl.Time}
    frame = pl.DataFrame(rows, schema={name: types[name] for name in plain})
    expected = set()
    for i, row in enumerate(rows):
        words = {k: str(v) if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
        try:
            REQUEST.Row.model_validate_json(orjson.dumps(words), strict=True)
        except ValidationError:
            expected.add(i)
    assert refused(CHECK, frame) == expected


@settings(max_examples=40, deadline=None, phases=[Phase.generate])
@given(
    st.lists(
        st.sampled_from(sorted(REQUEST.EXAMPLE)).flatmap(lambda k: st.tuples(st.just(k), st.text(max_size=8))),
        max_size=5,
    )
)
def test_text_from_a_file_is_read_as_json_reads_it_or_refused(changes: list[tuple[str, str]]) -> None:
    plain = {k: None if v is None else str(v) for k, v in REQUEST.EXAMPLE.items()}
    frame = pl.DataFrame([{**plain, name: text} for name, text in [("carrier", "UA"), *changes]])
    try:
        found = CHECK.checked(frame, 0)
    except Problem as problem:
        bad = {detail["row"] for detail in problem.details}
    else:
        bad = set()
    assert 0 not in bad, "its first row is as it should be"
    if bad:
        return
    for name, values in REQUEST.columns_of(found).items():
        assert len(values) == frame.height, name


def test_numbers_times_and_text_of_a_file_are_the_values_of_the_same_rows_in_json() -> None:
    rows = kit.requests(500, seed=4)
    wanted = REQUEST.columns([REQUEST.Row.model_validate(row) for row in rows])
    frame = pl.DataFrame(rows, infer_schema_length=None)
    buffer = io.BytesIO()
    frame.write_csv(buffer)
    text = pl.read_csv(buffer.getvalue(), infer_schema=False)
    CHECK.require_schema(text.schema, text=True)
    found = REQUEST.columns_of(CHECK.checked(text, 0))
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_every_kind_of_column_is_known_and_checked() -> None:
    kinds = {column.name: column.kind for column in columns_of(Other)}
    assert kinds == {
        "day": "date", "seen": "datetime", "open": "boolean", "size": "text", "tags": "json", "step": "integer",
    }  # fmt: skip
    check = RowCheck(Other)
    frame = pl.DataFrame(
        {
            "day": [dt.date(2013, 1, 1), None, dt.date(2013, 1, 3), dt.date(2013, 1, 4)],
            "seen": pl.Series([dt.datetime(2013, 1, 1)] * 4).dt.replace_time_zone("Europe/Berlin"),
            "open": [True, False, True, True],
            "size": pl.Series(["small", "large", "huge", "large"], dtype=pl.Categorical),
            "tags": ["[1, 2]", "[]", "[1]", "[1.5]"],
            "step": [5, 10, 15, 4],
        }
    )
    check.require_schema(frame.schema)
    assert refused(check, frame) == {1, 2, 3}
    good = check.checked(frame.head(1).drop("size", "step"), 0)
    assert good.select("size", "step").row(0) == ("small", 5), "what may be missing has its default"
    naive = frame.head(1).with_columns(seen=pl.lit(dt.datetime(2013, 1, 1)))
    assert refused(check, naive) == {0}


def test_a_rule_of_the_whole_row_is_kept() -> None:
    frame = pl.DataFrame({"low": [1.0, 5.0, 2.0], "high": [2.0, 1.0, 2.0]})
    assert refused(RowCheck(Ruled), frame) == {1}
    with pytest.raises(Problem) as problem:
        RowCheck(Ruled).checked(frame, 100)
    assert problem.value.details[0]["row"] == 101
    assert "should not be below low" in problem.value.error


def test_all_wrong_rows_are_counted_and_the_first_are_named() -> None:
    plain = REQUEST.Row.model_validate(REQUEST.EXAMPLE).model_dump()
    frame = pl.DataFrame([{**plain, "distance": -1.0}] * 500)
    with pytest.raises(Problem) as problem:
        CHECK.checked(frame, 0)
    assert (len(problem.value.details), problem.value.more) == (20, 480)


def test_an_arrow_stream_is_cut_and_joined_into_pieces_of_the_size_asked_for() -> None:
    frame = pl.DataFrame({"a": range(1000), "b": pl.Series(["x", "y"] * 500, dtype=pl.Categorical)})
    for step in (3, 100, 1000):
        parts = [arrow_stream.encoded(frame[i : i + step], begin=not i) for i in range(0, 1000, step)]
        whole = b"".join(parts) + arrow_stream.END
        pieces = list(arrow_stream.frames(io.BytesIO(whole).read, 2**20, 250))
        assert max(piece.height for piece in pieces) <= 252
        assert pl.concat([p.cast({"b": pl.String}) for p in pieces]).equals(frame.cast({"b": pl.String}))
        with pytest.raises(Problem):
            list(arrow_stream.frames(io.BytesIO(whole[:-20]).read, 2**20, 250))


@settings(max_examples=200, deadline=None, phases=[Phase.generate])
@given(st.integers(0, 400), st.binary(min_size=1, max_size=30))
def test_a_damaged_arrow_stream_is_a_table_or_a_problem(place: int, damage: bytes) -> None:
    whole = bytearray(
        arrow_stream.encoded(pl.DataFrame({"a": [1, 2], "b": ["x", None]}), begin=True) + arrow_stream.END
    )
    whole[place : place + len(damage)] = damage
    status = 200
    try:
        list(arrow_stream.frames(io.BytesIO(bytes(whole)).read, 2**16, 250))
    except Problem as problem:
        status = problem.status
    assert status in (200, 400, 413)
