"""``/schema.json``: what BentoML's own clients read first, so that ``client.predict(rows=[...])`` works."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

PATH = "/schema.json"


def schema(name: str, body: type[BaseModel]) -> dict[str, Any]:
    """The description of ``POST /predict`` as BentoML 1.4 writes that of an endpoint.

    Parameters
    ----------
    name : str
        That of the service.
    body : type
        The type of a request's body. What a row holds is left to the server's check: the client would alter values by
        it, and know no error with row and field.
    """
    rows = {"type": "array", "title": "Rows", "items": {"type": "object"}}
    doc = body.__doc__ or ""
    endpoint = {
        "name": "predict",
        "route": "/predict",
        "doc": doc,
        "batchable": False,
        "is_task": False,
        "input": {"type": "object", "title": "Input", "properties": {"rows": rows}, "required": ["rows"]},
        "output": {"type": "object", "title": "Output"},
    }
    return {"name": name, "type": "service", "routes": [endpoint], "description": doc}
