"""What a look at one thing found; `greenlight doctor` is a list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from greenlight.config import Settings
from greenlight.errors import STORAGE, GreenlightError, storage

State = Literal["ok", "warn", "fail"]
SHOWN = 5


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes
    ----------
    name : str
    state : str
        ``ok``, ``warn`` (works, but look at it) or ``fail`` (something required is not there).
    found : str
    todo : str
        What to do; empty when it is ``ok``.
    """

    name: str
    state: State
    found: str
    todo: str = ""


def looked(
    name: str, look: Callable[[Settings], Check | Iterator[Check]], settings: Settings, otherwise: State = "fail"
) -> Iterator[Check]:
    """Look; what raises one of our errors, or meets a disk that fails, counts as `otherwise`."""
    try:
        found = look(settings)
        yield from (found,) if isinstance(found, Check) else found
    except GreenlightError as exc:
        yield _failed(name, otherwise, exc)
    except OSError as exc:
        if exc.errno not in STORAGE:
            raise
        yield _failed(name, otherwise, storage(exc))


def _failed(name: str, state: State, exc: GreenlightError) -> Check:
    return Check(name, state, f"{exc.what} ({exc.where})" if exc.where else exc.what, exc.todo)


def some(names: list[str]) -> str:
    """The first few, and how many more."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
