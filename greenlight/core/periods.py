"""Months as strings, and which month of a run plays which part."""

from __future__ import annotations

import re
from dataclasses import dataclass

from greenlight.errors import ConfigError

_PERIOD = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Periods:
    """The periods of one run, each ``YYYY-MM``.

    Attributes
    ----------
    train : tuple of str
        Trained on, oldest first.
    stop : str
        The period after them: decides when training stops.
    holdout : str
        The period after that: neither candidate nor champion has seen it.
    """

    train: tuple[str, ...]
    stop: str
    holdout: str

    @property
    def all(self) -> tuple[str, ...]:
        """Every period of the run, oldest first."""
        return (*self.train, self.stop, self.holdout)

    def before(self, period: str) -> tuple[str, ...]:
        """The periods of the run that are older than `period`, oldest first."""
        return tuple(p for p in self.all if p < period)


def shift(period: str, months: int) -> str:
    """The period `months` after `period`; negative counts go back.

    Raises
    ------
    ConfigError
        `period` is not ``YYYY-MM``, or the result leaves the years 1 to 9999.

    Examples
    --------
    >>> shift("2013-12", 1), shift("2013-01", -2)
    ('2014-01', '2012-11')
    """
    match = _PERIOD.fullmatch(period)
    if match is None:
        raise ConfigError(f"{period!r} is not a month such as 2013-08")
    year, month = divmod(int(match[1]) * 12 + int(match[2]) - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise ConfigError(f"{months} months from {period} lie outside the years 1 to 9999")
    return f"{year:04d}-{month + 1:02d}"


def plan(as_of: str, window_months: int) -> Periods:
    """Which periods a run needs when `as_of` is the holdout.

    Parameters
    ----------
    as_of : str
        The holdout, ``YYYY-MM``.
    window_months : int
        Periods trained on, at least 1.

    Raises
    ------
    ConfigError
        `as_of` is not a month, or `window_months` is below 1.

    Examples
    --------
    >>> plan("2013-07", 2)
    Periods(train=('2013-04', '2013-05'), stop='2013-06', holdout='2013-07')
    """
    if window_months < 1:
        raise ConfigError(f"data.window_months is {window_months}, the least is 1")
    train = tuple(shift(as_of, -n) for n in range(window_months + 1, 1, -1))
    return Periods(train=train, stop=shift(as_of, -1), holdout=as_of)


def first_full(periods: list[str], window_months: int) -> str | None:
    """The first of `periods` that can be a holdout, or None when the data is too short.

    Parameters
    ----------
    periods : list of str
        What the source holds, in any order; gaps are allowed and never bridged.
    window_months : int
        Periods trained on, at least 1.
    """
    held = set(periods)
    return next((p for p in sorted(held) if held.issuperset(plan(p, window_months).all)), None)
