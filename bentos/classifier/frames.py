"""Rows in tables, checked as strictly as rows in JSON, a column at a time.

What a value must be is said once, by the dataset's row type; here it is asked of few values instead of all. Where a
column's rule is nothing but a range, its smallest and its largest value say enough; elsewhere each different value is
asked once. Rows that fail are asked again whole, so that a client reads the same words as from ``POST /predict``.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from bentos.classifier.columns import Column, columns_of
from bentos.classifier.problems import MAX_DETAILS, Problem, of_validation

DTYPES: dict[str, pl.DataType] = {
    "text": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "datetime": pl.Datetime("us"),
    "date": pl.Date(),
    "time": pl.Time(),
    "json": pl.String(),
}
# What a rule may consist of for its two ends to speak for everything between them.
_RANGE_TYPES = {"int", "float", "bool", "datetime", "date", "time", "nullable", "default"}
_RANGE_KEYS = {"type", "schema", "default", "gt", "ge", "lt", "le", "tz_constraint", "microseconds_precision"}
_RANGE_KEYS |= {"allow_inf_nan", "metadata", "ref"}


class RowCheck:
    """Checks tables of rows of one type.

    Parameters
    ----------
    row : type
        The dataset's row.
    """

    def __init__(self, row: type[BaseModel]) -> None:
        self._row = row
        self.columns = columns_of(row)
        fields = row.__pydantic_core_schema__.get("schema", {}).get("fields", {})
        decorators = row.__pydantic_decorators__
        # Rules that are functions of the class see more than a value, or are not known by the field: ask whole rows.
        self._whole = bool(decorators.field_validators or decorators.model_validators or decorators.validators) or set(
            fields
        ) != {column.name for column in self.columns}
        self._ranges = {name for name, rule in fields.items() if _is_range(rule.get("schema", {}))}
        self._values = {} if self._whole else {c.name: _values_type(row, c.name) for c in self.columns}

    def require_schema(self, schema: pl.Schema, *, text: bool = False) -> None:
        """Refuse a table whose columns are not the row's.

        Parameters
        ----------
        text : bool
            Every column came as text (CSV).

        Raises
        ------
        Problem
            422: a column is missing, not known, or of a type that it cannot have; each is named.
        """
        known = {column.name: column for column in self.columns}
        wrong: list[tuple[str, str, str | None]]
        wrong = [(name, "is not a known column", str(schema[name])) for name in schema if name not in known]
        for column in self.columns:
            if column.name not in schema:
                if column.required:
                    wrong.append((column.name, "is required", None))
            elif not text and not _fits(column, schema[column.name]):
                wanted = str(DTYPES[column.kind])
                wrong.append((column.name, f"should be a column of {wanted}", str(schema[column.name])))
        if not wrong:
            return
        details = tuple(
            {"row": None, "field": name[:80], "problem": problem} | ({"value": value} if value else {})
            for name, problem, value in wrong[:MAX_DETAILS]
        )
        first = details[0]
        head = f"{len(wrong)} column{'s are' if len(wrong) > 1 else ' is'} wrong; field {first['field']}: "
        raise Problem(422, head + str(first["problem"]), details, len(wrong) - len(details))

    def checked(self, frame: pl.DataFrame, first: int) -> pl.DataFrame:
        """The rows of a table whose schema was accepted, with all columns, each of its type in `DTYPES`.

        Parameters
        ----------
        first : int
            Number of the first row in the whole table, from 0.

        Raises
        ------
        Problem
            422: values are wrong; the first of them are named with row and field.
        """
        made, wrong = [], pl.repeat(False, frame.height, eager=True)
        for column in self.columns:
            if column.name not in frame.columns:
                default = self._row.model_fields[column.name].get_default(call_default_factory=True)
                made.append(pl.repeat(default, frame.height, dtype=DTYPES[column.kind], eager=True).alias(column.name))
                continue
            values, bad = self._column(column, frame.get_column(column.name))
            made.append(values.alias(column.name))
            wrong = wrong | bad
        if self._whole:
            wrong = wrong | pl.Series([self._refuses(row) for row in self._requests(frame)], dtype=pl.Boolean)
        if wrong.any():
            raise self._problem(frame, wrong, first)
        return pl.DataFrame(made)

    def _column(self, column: Column, values: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The values in the column's own type, and which of them are wrong."""
        sent = values.is_not_null()
        plain = _plain(column, values)
        unread = sent & plain.is_null()  # another type's text, an infinite number
        bad = unread if column.nullable else unread | ~sent
        if self._whole:
            return _as_kind(column, plain), bad
        different = plain.drop_nulls()
        if column.name in self._ranges and plain.dtype == DTYPES[column.kind] and different.len():
            ends = pl.Series([different.min(), different.max()], dtype=plain.dtype)
            if not self._wrong(column, ends)[1]:
                return plain, bad
        different = different.unique()
        found, refused = self._wrong(column, different)
        if refused:
            bad = bad | plain.is_in(different.gather(sorted(refused)).implode()).fill_null(False)
        if plain.dtype == DTYPES[column.kind]:
            return plain, bad
        return plain.replace_strict(different, found, default=None, return_dtype=DTYPES[column.kind]), bad

    def _wrong(self, column: Column, different: pl.Series) -> tuple[list[Any], set[int]]:
        """Different values as the row's rule reads them, None for those that it refuses; and which these are."""
        asked = different.to_list()
        if column.kind == "json":
            asked = [_json(value) for value in asked]
        read, refused = self._read(column.name, asked)
        if refused:
            accepted = [value for i, value in enumerate(asked) if i not in refused]
            again = iter(self._read(column.name, accepted)[0])
            read = [None if i in refused else next(again) for i in range(len(asked))]
        return (different.to_list() if column.kind == "json" else read), refused

    def _read(self, name: str, asked: list[Any]) -> tuple[list[Any], set[int]]:
        try:
            found = self._values[name].model_validate_json(orjson.dumps({"values": asked}), strict=True)
        except ValidationError as exc:
            return [], {int(error["loc"][1]) for error in exc.errors(include_url=False, include_input=False)}
        return list(found.values), set()  # type: ignore[attr-defined]

    def _problem(self, frame: pl.DataFrame, wrong: pl.Series, first: int) -> Problem:
        places = wrong.arg_true()
        shown = places.head(MAX_DETAILS).to_list()
        details: list[dict[str, Any]] = []
        for place, request in zip(shown, self._requests(frame[shown]), strict=True):
            row = {"row": first + place}
            try:
                self._row.model_validate_json(orjson.dumps(request), strict=True)
            except ValidationError as exc:
                details += [detail | row for detail in of_validation(exc).details]
            else:  # a value that JSON cannot even say
                details.append(row | {"field": "row", "problem": "has a value that cannot be used"})
        listed = tuple(details[:MAX_DETAILS])
        more = len(places) - len(shown) + len(details) - len(listed)
        count, at = len(listed) + more, listed[0]
        head = f"{count} value{'s are' if count > 1 else ' is'} wrong; row {at['row']}, field {at['field']}: "
        return Problem(422, head + str(at["problem"]), listed, more)

    def _refuses(self, request: dict[str, Any]) -> bool:
        try:
            self._row.model_validate_json(orjson.dumps(request), strict=True)
        except ValidationError:
            return True
        return False

    def _requests(self, frame: pl.DataFrame) -> list[dict[str, Any]]:
        """Rows as a client would write them in JSON; what JSON has no number for, and no type, as text."""
        known = {column.name: column for column in self.columns}
        columns = {name: _shown(known[name], frame.get_column(name)) for name in frame.columns}
        rows = zip(*columns.values(), strict=True)
        kept = {name for name, column in known.items() if column.required or not column.nullable}
        return [{k: v for k, v in zip(columns, row, strict=True) if v is not None or k in kept} for row in rows]


def _is_range(schema: Any) -> bool:
    """Whether a field's rule is a type with a smallest and a largest value, and nothing else."""
    if schema.get("type") not in _RANGE_TYPES or not set(schema) <= _RANGE_KEYS:
        return False
    return "schema" not in schema or _is_range(schema["schema"])


def _values_type(row: type[BaseModel], name: str) -> type[BaseModel]:
    """A type of many values of one field, under the configuration of its row."""
    field = row.model_fields[name]
    one = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation  # type: ignore[valid-type]
    config = ConfigDict(**{**row.model_config, "json_schema_extra": None, "title": None})  # type: ignore[typeddict-item]
    return create_model(f"{name}_values", __config__=config, values=(list[one], ...))  # type: ignore[valid-type,no-any-return]


def _fits(column: Column, dtype: pl.DataType) -> bool:
    if dtype == pl.Null:
        return column.nullable
    if column.kind == "integer":
        return dtype.is_integer()
    if column.kind == "number":
        return dtype.is_integer() or dtype.is_float() or isinstance(dtype, pl.Decimal)
    if column.kind == "boolean":
        return dtype == pl.Boolean
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return column.kind in ("text", "json")
    own = {"datetime": pl.Datetime, "date": pl.Date, "time": pl.Time}.get(column.kind)
    # Times may come as text, as in JSON.
    return dtype == pl.String or (own is not None and isinstance(dtype, own))


def _plain(column: Column, values: pl.Series) -> pl.Series:
    """Values that JSON can carry, of the column's type, or text still to be read; null for what is neither."""
    wanted = DTYPES[column.kind]
    if values.dtype == pl.Null or isinstance(values.dtype, (pl.Categorical, pl.Enum)):
        values = values.cast(wanted if values.dtype == pl.Null else pl.String)
    if column.kind == "boolean" and values.dtype == pl.String:
        return values.replace_strict(["true", "false"], [True, False], default=None, return_dtype=pl.Boolean)
    if column.kind in ("integer", "number"):
        values = values.cast(wanted, strict=False)
        return values.set(values.is_finite().not_(), None) if column.kind == "number" else values
    if isinstance(values.dtype, pl.Datetime):
        zone = values.dtype.time_zone
        inside = values.dt.year().is_between(1, 9999)  # what Python and ISO 8601 can write
        values = values.dt.cast_time_unit("us").set(~inside, None)
        return values if zone is None else values.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    if isinstance(values.dtype, pl.Date):
        return values.set(~values.dt.year().is_between(1, 9999), None)
    return values


def _as_kind(column: Column, plain: pl.Series) -> pl.Series:
    """Text of a time read as a time, for rows that are asked whole."""
    if plain.dtype == DTYPES[column.kind]:
        return plain
    return plain.str.strptime(DTYPES[column.kind], strict=False)  # type: ignore[arg-type]


def _shown(column: Column, values: pl.Series) -> list[Any]:
    plain = _plain(column, values)
    lost = (values.is_not_null() & plain.is_null()).to_list()
    if not any(lost):
        return [_json(v) if column.kind == "json" else v for v in plain.to_list()]
    words = values.cast(pl.String, strict=False).to_list()
    return [word if gone else value for word, gone, value in zip(words, lost, plain.to_list(), strict=True)]


def _json(text: Any) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, TypeError):
        return text
