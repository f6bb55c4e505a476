"""What a contract is made of: tables, columns, expectations and the reasons for them.

A dataset declares one ``Contract``; an adapter turns it into whatever engine does the checking. Nothing here knows an
engine, a file or a clock, so a contract can be read, printed and compared without any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from greenlight.core.profiles import Profile

Severity = Literal["stop", "warn"]
Rule = Literal["between", "not_null", "one_of", "matches", "unique", "rows"]
Kind = Literal["integer", "number", "text", "instant"]
Value = str | int | float

Derive = Callable[[Mapping[str, pl.DataFrame], Sequence[str]], dict[str, pl.DataFrame]]
Compare = Callable[[pl.DataFrame], pl.DataFrame]

FILES = "files"  # one row per file of the snapshot: is it there, can it be read, how many rows
COLUMNS = "columns"  # one row per file and column: is it there, is its type the declared one
MONTHS = "months"  # one row of figures per period


def _as_they_are(months: pl.DataFrame) -> pl.DataFrame:
    return months


@dataclass(frozen=True)
class Table:
    """One table of a snapshot, as its files must look.

    Attributes
    ----------
    name : str
        Folder of the period files, or name of the register's file.
    columns : Mapping[str, Kind]
        Every column and its kind. ``integer`` takes any width, ``number`` also floats, ``instant`` is a datetime in
        UTC of any precision. Order does not matter; a column that is not named here is unexpected.
    key : tuple[str, ...]
        Columns that name a row; shown in example rows, and what tells a row corrected from a row added.
    register : bool
        True for a table with one file for all periods.
    month : tuple[str, ...]
        Columns of a row's year and month; empty where the table has none.
    instant : str
        Column that says when a row happened; empty where the table has none.
    """

    name: str
    columns: Mapping[str, Kind]
    key: tuple[str, ...]
    register: bool = False
    month: tuple[str, ...] = ()
    instant: str = ""


@dataclass(frozen=True)
class Expectation:
    """One thing that must hold, for every period by itself where the table has periods.

    Attributes
    ----------
    table : str
        Table that it looks at: one of the snapshot's, one that the dataset derives, or ``files`` or ``columns``.
    rule : Rule
        What is checked; nulls are looked at by ``not_null`` only.
    columns : tuple[str, ...]
        Column looked at; several for ``unique``, none for ``rows``.
    reason : str
        Why it must hold and what is wrong when it does not, in one sentence.
    severity : Severity
        ``stop`` rejects the data, ``warn`` is reported only.
    minimum, maximum : float or None
        Limits, both inclusive, for ``between`` and ``rows``; None is open.
    values : tuple[Value, ...]
        Allowed values for ``one_of``.
    pattern : str
        Regular expression for ``matches``.
    share : float
        Share of rows, 0 to 1, that must pass; 1 is every row.
    unit : str
        Unit of the limits, for messages.
    about : str
        Table whose files to look into when it fails, if that is not `table` itself.
    owner : str
        Who answers for it: whom to ask when it fails.
    """

    table: str
    rule: Rule
    columns: tuple[str, ...]
    reason: str
    severity: Severity = "stop"
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[Value, ...] = ()
    pattern: str = ""
    share: float = 1.0
    unit: str = ""
    about: str = ""
    owner: str = ""

    @property
    def name(self) -> str:
        """Unique name within the contract, such as ``flights.distance between``."""
        columns = "+".join(self.columns)
        name = f"{self.table}.{columns} {self.rule}" if columns else f"{self.table} {self.rule}"
        return name if self.severity == "stop" else f"{name} (warn)"

    @property
    def limit(self) -> str:
        """The limit in words, such as ``between 10 and 5,200 miles``."""
        text = {
            "between": self._range(),
            "rows": f"row count {self._range()}",
            "not_null": "never null",
            "one_of": f"{'one of ' if len(self.values) > 1 else ''}{', '.join(str(value) for value in self.values)}",
            "matches": f"matching {self.pattern}",
            "unique": f"no two alike in {', '.join(self.columns)}",
        }[self.rule]
        return text if self.share == 1 else f"{text} in at least {self.share:.0%} of the rows"

    def _range(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.minimum is not None and self.minimum == self.maximum:
            return f"exactly {show(self.minimum)}{unit}"
        if self.maximum is None:
            return f"at least {show(self.minimum)}{unit}"
        if self.minimum is None:
            return f"at most {show(self.maximum)}{unit}"
        return f"between {show(self.minimum)} and {show(self.maximum)}{unit}"


@dataclass(frozen=True)
class Ties:
    """What relations are looked for in a table, see ``core/relations.py``.

    Attributes
    ----------
    table : str
    determinants : tuple[tuple[str, ...], ...]
        Columns that together may determine others; which they determine is learnt from the earlier periods.
    groups : tuple[str, ...]
        Columns that split the table into groups.
    """

    table: str
    determinants: tuple[tuple[str, ...], ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contract:
    """What must hold of a snapshot before a model may learn from it.

    Attributes
    ----------
    name : str
        Dataset and version, such as ``flight_delay/v1``.
    owner : str
        Who answers for the files themselves, and for every expectation that names nobody else.
    tables : tuple[Table, ...]
        What the snapshot's files must look like. Checked first: values of a broken file are not looked at.
    expectations : tuple[Expectation, ...]
        What must hold of the values.
    derive : Derive
        Turns the tables (those whose files are sound, with a column ``period`` unless they are registers) and the
        list of periods into the tables that the expectations name, ``months`` with one row of figures per period among
        them. Leaves out what it lacks the inputs for. Is asked for one period at a time.
    compare : Compare
        Adds to the figures of all periods, oldest first, what sets one against those before it.
    profiles : tuple[Profile, ...]
        Columns whose distribution is compared with that of the earlier periods.
    ties : tuple[Ties, ...]
        Tables whose relations are learnt from the earlier periods, at most one entry each.
    """

    name: str
    tables: tuple[Table, ...]
    expectations: tuple[Expectation, ...]
    derive: Derive
    owner: str = ""
    compare: Compare = _as_they_are
    profiles: tuple[Profile, ...] = ()
    ties: tuple[Ties, ...] = ()

    def of(self, table: str) -> tuple[Expectation, ...]:
        """The expectations of one table, in the order of declaration."""
        return tuple(e for e in self.every if e.table == table)

    @property
    def every(self) -> tuple[Expectation, ...]:
        """All expectations, those of the files first, each with its owner."""
        return tuple(e if e.owner else replace(e, owner=self.owner) for e in (*structure(), *self.expectations))

    def table(self, name: str) -> Table | None:
        """The table of that name; None for a derived one."""
        return next((table for table in self.tables if table.name == name), None)


def structure() -> tuple[Expectation, ...]:
    """What every contract expects of its files, whatever the dataset."""
    return (
        one_of(FILES, "state", ["readable"], why="a file that is missing or cut short cannot be learnt from"),
        between(FILES, "rows", 1, None, why="an empty period means that a delivery did not arrive", unit="row"),
        one_of(
            COLUMNS,
            "state",
            ["as declared"],
            why="a missing, new or differently typed column changes what the features mean",
        ),
    )


def between(
    table: str,
    column: str,
    minimum: float | None,
    maximum: float | None,
    *,
    why: str,
    unit: str = "",
    severity: Severity = "stop",
    about: str = "",
    share: float = 1.0,
) -> Expectation:
    """`column` lies between `minimum` and `maximum`, both inclusive; None is open."""
    return Expectation(
        table,
        "between",
        (column,),
        why,
        severity,
        minimum=minimum,
        maximum=maximum,
        unit=unit,
        about=about,
        share=share,
    )


def not_null(
    table: str, columns: Sequence[str], *, why: str, severity: Severity = "stop", share: float = 1.0
) -> tuple[Expectation, ...]:
    """In none of `columns` is more than ``1 - share`` of the rows null; one expectation each."""
    return tuple(Expectation(table, "not_null", (column,), why, severity, share=share) for column in columns)


def one_of(table: str, column: str, values: Sequence[Value], *, why: str, severity: Severity = "stop") -> Expectation:
    """`column` holds one of `values`."""
    return Expectation(table, "one_of", (column,), why, severity, values=tuple(values))


def matches(table: str, column: str, pattern: str, *, why: str, severity: Severity = "stop") -> Expectation:
    """`column` matches the regular expression `pattern`; anchor it to match the whole value."""
    return Expectation(table, "matches", (column,), why, severity, pattern=pattern)


def unique(table: str, columns: Sequence[str], *, why: str, severity: Severity = "stop") -> Expectation:
    """No two rows have the same values in all of `columns`."""
    return Expectation(table, "unique", tuple(columns), why, severity)


def rows(
    table: str, minimum: float | None, maximum: float | None, *, why: str, severity: Severity = "stop"
) -> Expectation:
    """The table has between `minimum` and `maximum` rows."""
    return Expectation(table, "rows", (), why, severity, minimum=minimum, maximum=maximum)


def owned(owner: str, expectations: Sequence[Expectation]) -> tuple[Expectation, ...]:
    """`expectations` with the one who answers for them; those that name somebody already keep him."""
    return tuple(e if e.owner else replace(e, owner=owner) for e in expectations)


def show(value: object) -> str:
    """A value as a message shows it: thousands separated, at most four significant decimals, no type noise.

    Examples
    --------
    >>> show(29425), show(0.226541), show(None), show("EWR")
    ('29,425', '0.2265', 'null', 'EWR')
    """
    if value is None:
        return "null"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value != value or abs(value) == float("inf"):
        return str(value)
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
