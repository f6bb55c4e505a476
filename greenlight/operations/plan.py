"""What a retrain would do: every `next` and `auto` made concrete, every mistake found before any work."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from greenlight import datasets
from greenlight.adapters import device as devices
from greenlight.adapters import dvc
from greenlight.adapters.registry import Version
from greenlight.config import Params
from greenlight.core import periods, training
from greenlight.core.gates import NAMES, unknown_overrides
from greenlight.datasets.supply import INCOMING, Supply
from greenlight.errors import ConfigError, UsageError
from greenlight.operations import clock
from greenlight.operations.known_versions import mend
from greenlight.operations.looks import Runs, compared_with, judged, settled
from greenlight.operations.overrides import apply, nested
from greenlight.operations.recorded import recorded_params
from greenlight.wiring import Project


@dataclass(frozen=True)
class Plan:
    """A run before it starts.

    Attributes
    ----------
    run : str
        The run's name: its as_of and six random hex digits.
    params : Params
        With concrete values for ``data.as_of``, ``data.source``, ``champion`` and ``train.device``.
    device : DeviceInfo
        What it trains on.
    champion : Version or None
        What the candidate is compared with.
    nothing_new : str
        Why there is nothing to train on; empty when there is.
    warnings : tuple of str
    overrides : mapping
        Sections of params.yaml with what this run alone has otherwise.
    """

    run: str
    params: Params
    device: devices.DeviceInfo
    champion: Version | None
    nothing_new: str = ""
    warnings: tuple[str, ...] = field(default_factory=tuple)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def describe(self) -> str:
        """One line: months, champion and device."""
        months = periods.plan(self.params.data.as_of, self.params.data.window_months)
        against = f"champion {self.champion.name}" if self.champion else "no champion yet"
        return (
            f"train {months.train[0]} to {months.train[-1]}, stop on {months.stop}, hold out {months.holdout}; "
            f"{against}; device {self.device.describe()}"
        )


def plan(project: Project, *, as_of: str = "", device: str = "", overrides: Mapping[str, Any] | None = None) -> Plan:
    """Resolve a retrain's parameters.

    Parameters
    ----------
    project : Project
    as_of : str
        A period, ``next``, or empty for what params.yaml says.
    device : str
        ``auto``, ``cpu``, ``cuda``, or empty for what params.yaml says.
    overrides : mapping, optional
        Other parameters of this run alone, such as ``{"train.seed": 7}``; `as_of` and `device` go before them.

    Raises
    ------
    UsageError, ConfigError
        as_of is no period or outside the data; the device is not there.
    DvcError
        No DVC remote is configured.
    """
    own = nested(overrides or {})
    params = _with(apply(project.params, own), as_of, device)
    dvc.remote(project.settings.root)
    info = devices.resolve(params.train.device)
    dataset = datasets.load(params.dataset)
    _check_names(params, dataset)
    supply = Supply(dataset.source, project.settings.root / INCOMING)
    supply.require_understood()
    available = supply.periods()
    mended = tuple(mend(project))
    champion = project.registry.champion()
    runs = compared_with(project, champion)
    wanted = params.data.as_of
    if wanted == "next":
        wanted = _next(project, champion, available, params.data.window_months, runs)
    name = f"{wanted}-{secrets.token_hex(3)}"
    chosen = periods.plan(wanted, params.data.window_months)
    missing = [period for period in chosen.all if period not in available]
    if missing and params.data.as_of == "next" and wanted > available[-1]:
        why = f"nothing new to train on: {wanted} is not there yet, the newest month is {available[-1]}"
        if not champion:
            why += f" (the first run needs data.window_months, {params.data.window_months}, and two more)"
        return Plan(name, params, info, champion, nothing_new=why)
    if missing:
        first = periods.shift(available[0], params.data.window_months + 1)
        needed = f"{chosen.all[0]} to {wanted} (data.window_months {params.data.window_months})"
        raise UsageError(
            f"as_of {wanted} needs {needed}; {len(missing)} of these months not in the data: {_shown(missing)}",
            where=f"dataset {params.dataset}: {available[0]} to {available[-1]}",
            todo=f"an as_of from {first} to {available[-1]}"
            if first <= available[-1]
            else f"a data.window_months of at most {len(available) - 2}",
        )
    concrete = _concrete(params, wanted, supply.fingerprint(chosen.all), champion, info.kind)
    concrete = concrete.model_copy(update={"judged": judged(project, concrete, champion, runs)})
    return Plan(name, concrete, info, champion, warnings=(*mended, *_warnings(project)), overrides=own)


def _shown(months: list[str]) -> str:
    return ", ".join(months[:3]) + (f" and {len(months) - 3} more" if len(months) > 3 else "")


def _check_names(params: Params, dataset: datasets.Dataset) -> None:
    """Find misspelt names that only a late stage would meet.

    Raises
    ------
    ConfigError
        A column to slice by that no row has, an override of a gate that there is not, or a parameter that XGBoost does
        not know.
    """
    fields = dataset.request.FIELDS
    unknown = [name for name in params.gates.slices.columns if name not in fields]
    if unknown:
        raise ConfigError(
            f"no column {', '.join(unknown)} to slice by; there are {', '.join(fields)}",
            where="params.yaml: gates.slices.columns",
            todo="correct the names",
        )
    if strangers := unknown_overrides(params.gates):
        raise ConfigError(
            f"no gate {', '.join(strangers)} to override; there are {', '.join(NAMES)}",
            where="params.yaml: gates.overrides",
            todo="correct the names",
        )
    training.check_parameters(params.train.booster)


def _with(params: Params, as_of: str, device: str) -> Params:
    """`params` with what the caller asked for, checked like the file itself."""
    raw = params.model_dump()
    if as_of:
        raw["data"]["as_of"] = as_of
    if device:
        raw["train"]["device"] = device
    return Params.check(raw, where="--as-of or --device")


def _next(project: Project, champion: Version | None, available: list[str], window: int, runs: Runs) -> str:
    """The first month after the champion's on which no candidate was refused yet."""
    first = periods.shift(champion_as_of(project, champion), 1) if champion else periods.shift(available[0], window + 1)
    done = settled(runs)
    while first in done:
        first = periods.shift(first, 1)
    return first


def champion_as_of(project: Project, champion: Version) -> str:
    """The holdout period of the run that trained the champion."""
    return str(recorded_params(project, champion.commit)["data"]["as_of"])


def _concrete(params: Params, as_of: str, source: str, champion: Version | None, device: str) -> Params:
    raw = params.model_dump()
    raw["data"] |= {"as_of": as_of, "source": source}
    raw["champion"] = {"version": champion.name, "run": champion.run} if champion else {"version": "", "run": ""}
    raw["train"]["device"] = device
    return Params.check(raw, where="params.yaml")


def _warnings(project: Project) -> tuple[str, ...]:
    behind = clock.fault(project.repository)
    notes = (f"{behind}; {clock.TODO}",) if behind else ()
    code = [name for name in project.repository.untracked() if name.endswith((".py", ".yaml", ".txt", ".toml"))]
    if not code:
        return notes
    shown = ", ".join(code[:5]) + (f" and {len(code) - 5} more" if len(code) > 5 else "")
    return (*notes, f"untracked files do not travel into the run: {shown}; git add them if the run needs them")
