"""Parameters of one run alone: ``train.seed=7`` on the command line, ``overrides`` in the form.

They are checked like params.yaml and written into the run's own copy of it, so they are recorded and reproduced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from greenlight.config import Params
from greenlight.errors import ConfigError

WHERE = "--set, or overrides in the form"
# What else params.yaml holds counts in the checkout and not in the run, or is the run's own to fill.
SECTIONS = ("data", "train", "decision", "gates")
FILLED = "data.source"


def parse(settings: Iterable[str]) -> dict[str, Any]:
    """``["train.seed=7"]`` as ``{"train.seed": 7}``; values are YAML, as in params.yaml.

    Raises
    ------
    ConfigError
        One has no ``=``, or its value is no YAML.
    """
    found: dict[str, Any] = {}
    for item in settings:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            what = f"{item!r} is not of the form key=value"
            raise ConfigError(what, where="--set", todo="greenlight retrain --set train.seed=7")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as exc:
            raise ConfigError(f"the value of {key} cannot be read: {exc}", where="--set") from exc
    return found


def nested(overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``{"train.seed": 7}`` as the sections of params.yaml, ``{"train": {"seed": 7}}``.

    Raises
    ------
    ConfigError
        A key is not one that a run may have of its own.
    """
    tree: dict[str, dict[str, Any]] = {}
    for key, value in overrides.items():
        section, *rest = key.split(".")
        if section not in SECTIONS or not rest or key == FILLED:
            raise ConfigError(
                f"{key} cannot be set for one run; what can is below {', '.join(SECTIONS)}",
                where=WHERE,
                todo="change params.yaml, or name a key such as train.seed or gates.min_rows",
            )
        into: dict[str, Any] = tree.setdefault(section, {})
        for name in rest[:-1]:
            into = into.setdefault(name, {})
            if not isinstance(into, dict):
                raise ConfigError(f"{key} is set beside {name} itself", where=WHERE, todo="set one of them")
        into[rest[-1]] = value
    return tree


def apply(params: Params, tree: Mapping[str, Any]) -> Params:
    """`params` with the values of `tree`, checked like the file.

    Raises
    ------
    ConfigError
        A key does not exist or a value does not fit; all mistakes in one message.
    """
    return Params.check(_merged(params.model_dump(), tree), where=WHERE)


def _merged(raw: dict[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(raw)
    for key, value in tree.items():
        old = changed.get(key)
        changed[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return changed
