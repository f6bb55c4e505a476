"""Tensors of the Open Inference Protocol to and from Python values: JSON data, and Triton's binary form.

In binary form a tensor's values lie one behind the other, little-endian; a text has its length in four bytes before it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from bentos.classifier.columns import Column, Kind
from bentos.classifier.problems import Problem

DATATYPES: dict[Kind, str] = {
    "text": "BYTES",
    "integer": "INT64",
    "number": "FP64",
    "boolean": "BOOL",
    "datetime": "BYTES",
    "date": "BYTES",
    "time": "BYTES",
    "json": "BYTES",
}
OUTPUTS = {"probability": "FP32", "decision": "BOOL", "prediction_id": "BYTES"}
_NUMPY = {
    "BOOL": "?",
    **{f"{sign}INT{bits}": f"<{code}{bits // 8}" for sign, code in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}


class Tensors:
    """Reads the tensors of a request.

    Parameters
    ----------
    columns : sequence of Column
        The columns of the row.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = {column.name: column for column in columns}

    def columns(self, inputs: Any, binary: bytes) -> dict[str, list[Any]]:
        """The values of each tensor, as JSON values.

        Parameters
        ----------
        inputs : Any
            What a request has under ``inputs``.
        binary : bytes
            What follows the JSON: the values of the tensors with a ``binary_data_size``, in their order.

        Raises
        ------
        Problem
            422: a tensor is not known, there twice, of a type or a shape that its column cannot have; 400: the binary
            data is not as long as the tensors say.
        """
        if not isinstance(inputs, list) or not inputs or not all(isinstance(one, dict) for one in inputs):
            raise Problem(422, "`inputs` must be a list of tensors, one a column")
        found: dict[str, list[Any]] = {}
        start = 0
        for tensor in inputs:
            column = self._column(tensor, found)
            count = _count(tensor, column.name)
            size = _binary_size(tensor, column.name)
            if size is None:
                values = _flat(tensor, column.name)
            elif start + size > len(binary):
                raise Problem(400, f"{column.name}: {size:,} bytes are missing behind the JSON of the request")
            else:
                values = _unpacked(tensor, column.name, binary[start : start + size])
                start += size
            if len(values) != count:
                raise Problem(422, f"{column.name}: the shape says {count:,} values, the data has {len(values):,}")
            found[column.name] = [plain(column, value) for value in values]
        if start != len(binary):
            raise Problem(400, f"{len(binary) - start:,} bytes at the end belong to no tensor")
        return found

    def _column(self, tensor: dict[str, Any], found: dict[str, list[Any]]) -> Column:
        name, kind = tensor.get("name"), tensor.get("datatype")
        column = self._columns.get(name) if isinstance(name, str) else None
        if column is None:
            raise Problem(422, f"{str(name)[:80]!r} is not a known input; GET /v2/models/{{model}} lists them")
        if column.name in found:
            raise Problem(422, f"the input {column.name} is there twice")
        wanted = DATATYPES[column.kind]
        numeric = wanted in ("INT64", "FP64") and kind in _NUMPY and kind != "BOOL"
        if kind != wanted and not numeric:
            raise Problem(422, f"the input {column.name} has datatype {str(kind)[:20]!r}, wanted {wanted}")
        return column


def wants(parameters: Any, name: str, default: bool) -> bool:
    """The flag `name` among `parameters`."""
    value = parameters.get(name, default) if isinstance(parameters, dict) else default
    return bool(value) if isinstance(value, bool) else default


def packed(datatype: str, values: Sequence[Any]) -> bytes:
    """Numbers or truth values in binary form."""
    return np.asarray(values, dtype=_NUMPY[datatype]).tobytes()


def texts(values: Sequence[str]) -> bytes:
    """Texts in binary form."""
    encoded = [value.encode() for value in values]
    return b"".join(part for text in encoded for part in (struct.pack("<I", len(text)), text))


def _count(tensor: dict[str, Any], name: str) -> int:
    shape = tensor.get("shape")
    whole = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if not whole or not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):  # type: ignore[arg-type,index]
        raise Problem(422, f"the input {name} has shape {str(shape)[:40]}, wanted [n] or [n, 1]")
    return int(shape[0])  # type: ignore[index]


def _binary_size(tensor: dict[str, Any], name: str) -> int | None:
    parameters = tensor.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Problem(422, f"{name}: `parameters` must be an object")
    if "shared_memory_region" in parameters:
        raise Problem(422, f"{name}: shared memory is not possible here; send the data with the request")
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise Problem(422, f"{name}: binary_data_size is {str(size)[:20]}, wanted a number of bytes")
    return size


def _flat(tensor: dict[str, Any], name: str) -> list[Any]:
    """Values sent as JSON; for a shape [n, 1] each may be in a list of its own."""
    data = tensor.get("data")
    if not isinstance(data, list):
        raise Problem(422, f"the input {name} has no data")
    if len(tensor["shape"]) == 2 and all(isinstance(one, list) and len(one) == 1 for one in data):
        return [one[0] for one in data]
    return data


def _unpacked(tensor: dict[str, Any], name: str, content: bytes) -> list[Any]:
    if tensor["datatype"] != "BYTES":
        kind = np.dtype(_NUMPY[tensor["datatype"]])
        if len(content) % kind.itemsize:
            raise Problem(400, f"{name}: {len(content):,} bytes are no whole number of {tensor['datatype']}")
        found: list[Any] = np.frombuffer(content, dtype=kind).tolist()
        return found
    values, at = [], 0
    while at < len(content):
        if at + 4 > len(content):
            raise Problem(400, f"{name}: the binary data breaks off within a length")
        (size,) = struct.unpack_from("<I", content, at)
        at += 4 + size
        if at > len(content):
            raise Problem(400, f"{name}: the binary data breaks off within a text")
        try:
            values.append(content[at - size : at].decode())
        except UnicodeDecodeError:
            raise Problem(422, f"{name}: value {len(values)} is not UTF-8") from None
    return values


def plain(column: Column, value: Any) -> Any:
    """One value as the row's JSON has it."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return str(value)  # JSON has no such number; the check of the row names it
        # Whole numbers with gaps travel as floating point, for its NaN.
        return int(value) if column.kind == "integer" and value.is_integer() else value
    if value == "" and column.nullable:
        return None
    if column.kind == "json" and isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value
