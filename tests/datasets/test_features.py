"""One function offline and online: the same bits for one row and for a month, nothing from after departure."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from greenlight.core.lookup import Lookup, Vocabulary
from greenlight.datasets.flight_delay import features, history, request, source

NAMES = [f.name for f in features.FEATURES]
AFTER_DEPARTURE = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")


@pytest.fixture(scope="module")
def january() -> pl.DataFrame:
    return history.assemble(source.fetch("2013-01"), "2013-01")


@pytest.fixture(scope="module")
def february() -> pl.DataFrame:
    return history.assemble(source.fetch("2013-02"), "2013-02")


@pytest.fixture(scope="module")
def lookups(january: pl.DataFrame) -> dict[str, Lookup]:
    return history.lookups([january], source.fetch_registers())


@pytest.fixture(scope="module")
def vocabulary(january: pl.DataFrame) -> Vocabulary:
    return history.vocabulary([january])


def one(**changed: Any) -> request.Columns:
    return request.columns([request.Row.model_validate(request.EXAMPLE | changed)])


def test_rows_without_an_outcome_have_no_label_and_are_left_out(february: pl.DataFrame) -> None:
    raw = source.fetch("2013-02")["flights"]
    known = raw.filter(pl.col("arr_delay").is_not_null())
    assert february.height == known.height == raw.height - 1340
    assert february["label"].to_list() == [int(d > 15) for d in known["arr_delay"].to_list()]


def test_every_row_keeps_its_place_and_gets_the_weather_of_its_hour_in_utc(february: pl.DataFrame) -> None:
    tables = source.fetch("2013-02")
    known = tables["flights"].filter(pl.col("arr_delay").is_not_null())
    weather = {(r["origin"], r["time_hour"]): r["temp"] for r in tables["weather"].to_dicts()}
    expected = [weather.get(key) for key in known.select("origin", "time_hour").rows()]
    assert february["temp"].to_list() == expected
    assert february["flight"].to_list() == known["flight"].to_list()


def test_weather_that_is_there_twice_multiplies_no_row(february: pl.DataFrame) -> None:
    tables = source.fetch("2013-02")
    doubled = tables | {"weather": pl.concat([tables["weather"], tables["weather"]])}
    assert history.assemble(doubled, "2013-02").equals(february)


def test_time_hour_may_be_handed_in_as_text_or_without_its_zone(february: pl.DataFrame) -> None:
    tables = source.fetch("2013-02")
    as_text = {n: t.with_columns(pl.col("time_hour").dt.strftime("%Y-%m-%dT%H:%M:%SZ")) for n, t in tables.items()}
    naive = {n: t.with_columns(pl.col("time_hour").dt.replace_time_zone(None)) for n, t in tables.items()}
    assert history.assemble(as_text, "2013-02").equals(february)
    assert history.assemble(naive, "2013-02").equals(february)


def test_nothing_known_only_after_departure_reaches_the_model(
    february: pl.DataFrame, lookups: dict[str, Lookup], vocabulary: Vocabulary
) -> None:
    """Whatever those columns hold, rows and matrix stay as they are; only the label knows the arrival."""
    tables = source.fetch("2013-02")
    wild = tables["flights"].with_columns(
        *(pl.lit(-999).alias(name) for name in AFTER_DEPARTURE if name != "arr_delay"),
        arr_delay=pl.when(pl.col("arr_delay").is_not_null()).then(0),
    )
    changed = history.assemble(tables | {"flights": wild}, "2013-02")
    assert changed.drop("label").equals(february.drop("label"))
    assert not set(AFTER_DEPARTURE) & {*changed.columns, *NAMES, *request.Row.model_fields}


def test_one_row_gives_the_bits_that_a_month_gives(
    february: pl.DataFrame, lookups: dict[str, Lookup], vocabulary: Vocabulary
) -> None:
    """Offline: columns of the frame. Online: the same row as JSON through the typed request."""
    whole, unseen = features.row_features(request.columns_of(february), lookups, vocabulary)
    assert whole.dtype == np.float32
    assert whole.shape == (february.height, len(features.FEATURES))
    chosen = np.random.default_rng(3).choice(february.height, 400, replace=False)
    for i, record in zip(chosen, request.records(february[chosen]), strict=True):
        row = request.Row.model_validate_json(request.Row.model_validate(record).model_dump_json())
        alone, _ = features.row_features(request.columns([row]), lookups, vocabulary)
        assert alone.tobytes() == whole[i].tobytes(), (NAMES, alone, whole[i])
    assert unseen == {"carrier": 0, "origin": 0, "dest": 0}


def test_what_clients_would_have_asked_is_every_flight_and_nothing_of_its_outcome(february: pl.DataFrame) -> None:
    """Flights cancelled later are asked too; whatever became known after departure changes the label alone."""
    tables = source.fetch("2013-02")
    flights = tables["flights"]
    asked = history.asked(tables, "2013-02")
    wild = flights.with_columns(pl.lit(-999).alias(name) for name in AFTER_DEPARTURE)

    assert asked.height == flights.height
    assert asked["label"].null_count() == flights["arr_delay"].null_count() == 1340
    assert asked["scheduled_departure"].is_sorted()
    known = asked.filter(pl.col("label").is_not_null())
    assert known.equals(february.sort("scheduled_departure", maintain_order=True))
    assert history.asked(tables | {"flights": wild}, "2013-02").drop("label").equals(asked.drop("label"))


def test_played_requests_give_the_features_of_the_rows_they_come_from(
    lookups: dict[str, Lookup], vocabulary: Vocabulary
) -> None:
    """A whole month of raw rows as JSON through the typed request, checked as the server does: the bits of offline."""
    asked = history.asked(source.fetch("2013-02"), "2013-02")
    rows = [request.Row.model_validate_json(json.dumps(record), strict=True) for record in request.records(asked)]
    online, _ = features.row_features(request.columns(rows), lookups, vocabulary)
    offline, _ = features.row_features(request.columns_of(asked), lookups, vocabulary)

    assert online.tobytes() == offline.tobytes()


def test_a_row_does_not_depend_on_the_rows_beside_it(
    february: pl.DataFrame, lookups: dict[str, Lookup], vocabulary: Vocabulary
) -> None:
    whole, _ = features.row_features(request.columns_of(february), lookups, vocabulary)
    back, _ = features.row_features(request.columns_of(february.reverse()), lookups, vocabulary)
    assert back[::-1].tobytes() == whole.tobytes()


def test_the_numbers_are_what_their_names_say(lookups: dict[str, Lookup], vocabulary: Vocabulary) -> None:
    matrix, _ = features.row_features(one(), lookups, vocabulary)
    row = dict(zip(NAMES, matrix[0].tolist(), strict=True))
    assert row["carrier"] == vocabulary.categories["carrier"].index("UA")
    assert (row["departure_minute"], row["arrival_minute"]) == (17 * 60 + 15, 20 * 60 + 19)
    assert row["block_minutes"] == 184
    assert row["weekday"] == dt.date(2013, 7, 4).weekday() == 3
    assert (row["plane_year"], row["plane_seats"]) == (1999, 149)
    assert np.isnan(row["wind_gust"])
    assert row["temp"] == 86


def test_a_flight_over_midnight_has_a_positive_block(lookups: dict[str, Lookup], vocabulary: Vocabulary) -> None:
    columns = one(scheduled_departure="2013-07-04T23:30:00", scheduled_arrival="00:45:00")
    matrix, _ = features.row_features(columns, lookups, vocabulary)
    assert matrix[0, NAMES.index("block_minutes")] == 75


def test_lateness_is_the_smoothed_rate_less_the_overall_rate(
    january: pl.DataFrame, lookups: dict[str, Lookup], vocabulary: Vocabulary
) -> None:
    """Counted by hand for one flight number, from January alone."""
    its = january.filter((pl.col("carrier") == "UA") & (pl.col("flight") == 1545))
    level = january["label"].mean()
    expected = (its["label"].sum() + history.SMOOTHING * level) / (its.height + history.SMOOTHING) - level
    matrix, _ = features.row_features(one(), lookups, vocabulary)
    assert its.height == 6
    assert matrix[0, NAMES.index("flight_lateness")] == pytest.approx(expected, abs=1e-7)


def test_a_flight_without_history_counts_as_average(lookups: dict[str, Lookup], vocabulary: Vocabulary) -> None:
    place = NAMES.index("flight_lateness")
    none = history.lookups([], source.fetch_registers())
    for columns, known in ((one(flight=9999), lookups), (one(flight=None), lookups), (one(), none)):
        assert features.row_features(columns, known, vocabulary)[0][0, place] == 0


def test_history_is_what_it_is_given(january: pl.DataFrame, february: pl.DataFrame) -> None:
    """Flipping the outcomes of a later month leaves the history of an earlier one as it is."""
    registers = source.fetch_registers()
    both = history.lookups([january, february], registers)
    flipped = history.lookups([january, february.with_columns(label=1 - pl.col("label"))], registers)
    assert both["flight"].to_json() != flipped["flight"].to_json()
    assert both["planes"].to_json() == flipped["planes"].to_json()


def test_a_category_never_seen_is_missing_and_counted(lookups: dict[str, Lookup], vocabulary: Vocabulary) -> None:
    matrix, unseen = features.row_features(one(carrier="ZZ", dest="QQQ"), lookups, vocabulary)
    assert np.isnan(matrix[0, [NAMES.index("carrier"), NAMES.index("dest")]]).all()
    assert unseen == {"carrier": 1, "origin": 0, "dest": 1}


def test_a_row_with_required_fields_only_has_features(lookups: dict[str, Lookup], vocabulary: Vocabulary) -> None:
    needed = {n: request.EXAMPLE[n] for n, f in request.Row.model_fields.items() if f.is_required()}
    matrix, _ = features.row_features(request.columns([request.Row.model_validate(needed)]), lookups, vocabulary)
    assert np.isnan(matrix[0, NAMES.index("temp")])
    assert np.isnan(matrix[0, NAMES.index("plane_seats")])
    assert not np.isnan(matrix[0, NAMES.index("distance")])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("carrier", "united"),
        ("origin", ""),
        ("dest", None),
        ("scheduled_departure", "2013-07-04T17:15:00Z"),
        ("scheduled_arrival", "25:00"),
        ("distance", 0),
        ("distance", "NaN"),
        ("flight", 0),
        ("temp", 400),
        ("visib", -1),
        ("dep_delay", 3),
    ],
)
def test_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        request.Row.model_validate(request.EXAMPLE | {field: value})
    assert [e["loc"][0] for e in caught.value.errors()] == [field]


def test_every_real_row_is_a_valid_request(february: pl.DataFrame) -> None:
    for record in request.records(february[::50]):
        request.Row.model_validate(record)


@pytest.mark.parametrize(
    ("field", "value"),
    [("scheduled_arrival", "20:19:00+01:00"), ("scheduled_departure", "2013-07-04T17:15:00Z")],
)
def test_a_time_with_a_zone_is_refused_since_the_zone_would_be_dropped(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field):
        request.Row.model_validate(request.EXAMPLE | {field: value})
