"""The columns of a request's row, as far as its type says: what a tensor, a table's column or a document declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

Kind = Literal["text", "integer", "number", "boolean", "datetime", "date", "time", "json"]

_TYPES: dict[str, Kind] = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "text"}
_FORMATS: dict[str, Kind] = {"date-time": "datetime", "date": "date", "time": "time"}

# Columns of the answer to a table, in order. Here and not in `tables`, which imports Polars: 35 MB in every server.
ANSWERED = ("prediction_id", "probability", "decision", "model_version")


@dataclass(frozen=True)
class Column:
    """One field of a row.

    Attributes
    ----------
    name : str
    kind : str
        ``text``, ``integer``, ``number``, ``boolean``, ``datetime``, ``date``, ``time``; ``json`` for whatever a single
        value of these is not (a list, an object, one of several types): it travels as JSON text.
    required : bool
        A row without it is refused.
    nullable : bool
        Null stands for "not known".
    """

    name: str
    kind: Kind
    required: bool
    nullable: bool


def columns_of(row: type[BaseModel]) -> tuple[Column, ...]:
    """The columns of the row type `row`, in its order.

    Examples
    --------
    >>> class Row(BaseModel):
    ...     distance: float
    ...     seats: int | None = None
    >>> [(c.name, c.kind, c.required, c.nullable) for c in columns_of(Row)]
    [('distance', 'number', True, False), ('seats', 'integer', False, True)]
    """
    schema = row.model_json_schema()
    definitions = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    found = []
    for name, about in schema.get("properties", {}).items():
        options = [_resolved(option, definitions) for option in about.get("anyOf", [about])]
        values = [option for option in options if option.get("type") != "null"]
        kind = _kind(values[0]) if len(values) == 1 else "json"
        found.append(Column(name, kind, name in required, len(values) < len(options)))
    return tuple(found)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    return definitions[reference.rsplit("/", 1)[-1]] if reference else schema


def _kind(schema: Mapping[str, Any]) -> Kind:
    kind = _TYPES.get(str(schema.get("type", "")), "json")
    return _FORMATS.get(str(schema.get("format", "")), kind) if kind == "text" else kind
