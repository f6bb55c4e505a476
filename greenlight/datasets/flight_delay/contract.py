"""What must hold of a ``flight_delay`` snapshot before a model may learn from it.

Read it top to bottom: first what the files look like, then each table, then the months by themselves, then the months
against those before them. Every limit was set with all twelve months of 2013 at hand; the figure seen there stands
beside it. ``facts.py`` says how the derived columns and ``months`` are measured. Each expectation says why it is there,
who answers for it, and whether it stops the run or warns. To change what is accepted, change it here; nothing else
repeats a limit.
"""

from __future__ import annotations

from functools import partial

from greenlight.core.batches import copied, corrected, fresh, null_rise
from greenlight.core.contract import (
    Contract,
    Expectation,
    Severity,
    Table,
    Ties,
    between,
    matches,
    not_null,
    one_of,
    owned,
    rows,
    unique,
)
from greenlight.core.profiles import Profile
from greenlight.core.relations import kept
from greenlight.datasets.flight_delay import facts

ORIGINS = ("EWR", "JFK", "LGA")
CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
FLIGHT_KEY = ("year", "month", "day", "carrier", "flight", "origin")  # unique in all 336,776 rows; without origin not

# Who answers for what; a failure names them.
DELIVERY = "data engineering"  # files, periods, deliveries
AIRLINES = "flight data desk"
METEOROLOGY = "weather data desk"
REGISTER = "plane register desk"
MODELLING = "modelling"  # what the model learns from, right or not

FLIGHTS = Table(
    "flights",
    {
        **dict.fromkeys(("year", "month", "day", "flight", "hour", "minute", "distance"), "integer"),
        **dict.fromkeys(("dep_time", "sched_dep_time", "arr_time", "sched_arr_time"), "integer"),
        **dict.fromkeys(("dep_delay", "arr_delay", "air_time"), "integer"),
        **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), "text"),
        "time_hour": "instant",
    },
    key=FLIGHT_KEY,
    month=("year", "month"),
    instant="time_hour",
)

WEATHER = Table(
    "weather",
    {
        **dict.fromkeys(("year", "month", "day", "hour"), "integer"),
        **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), "number"),
        **dict.fromkeys(("precip", "pressure", "visib"), "number"),
        "origin": "text",
        "time_hour": "instant",
    },
    key=("origin", "time_hour"),
    month=("year", "month"),
    instant="time_hour",
)

PLANES = Table(
    "planes",
    {
        **dict.fromkeys(("year", "engines", "seats", "speed"), "integer"),
        **dict.fromkeys(("tailnum", "type", "manufacturer", "model", "engine"), "text"),
    },
    key=("tailnum",),
    register=True,
)

CLOCK = "a clock time is written HHMM; anything else is another format or another unit"
DELAY = "delays are in minutes and rarely reach a day; more means seconds or a broken join"
UTC = "the weather is joined on this instant, so another time zone joins the wrong hour"
PERIOD = "a row outside its file's month would be trained on and held out at the same time"

FLIGHT_EXPECTATIONS = (
    *not_null(
        "flights",
        (*FLIGHT_KEY, "dest", "sched_dep_time", "sched_arr_time", "distance", "hour", "minute", "time_hour"),
        why="the schedule is known for every flight, cancelled or not",
    ),
    unique(
        "flights", FLIGHT_KEY, why="a flight that is there twice counts twice and can stand on both sides of a split"
    ),
    between("flights", "date_gap_months", 0, 0, unit="months", why=PERIOD),
    between("flights", "utc_gap", 0, 0, why=UTC),
    one_of("flights", "origin", ORIGINS, why="weather is there for New York's three airports only"),
    matches("flights", "carrier", r"^[A-Z0-9]{2}$", why="carriers are IATA codes of two characters"),
    one_of(
        "flights",
        "carrier",
        CARRIERS,
        why="a carrier that 2013 did not have scores as missing; add it here once it is known to be right",
        severity="warn",
    ),
    matches("flights", "dest", r"^[A-Z]{3}$", why="airports are IATA codes of three letters"),
    matches("flights", "tailnum", r"^[A-Z0-9]{5,6}$", why="the register of planes is joined on the tail number"),
    between("flights", "flight", 1, 9999, why="flight numbers have one to four digits"),  # seen 1 to 8,500
    between("flights", "sched_dep_time", 1, 2400, why=CLOCK),  # 106 to 2,359
    between("flights", "sched_arr_time", 0, 2400, why=CLOCK),  # 1 to 2,359
    between("flights", "dep_time", 0, 2400, why=CLOCK),  # 1 to 2,400
    between("flights", "arr_time", 0, 2400, why=CLOCK),  # 1 to 2,400
    between("flights", "hour", 0, 23, why=CLOCK),
    between("flights", "minute", 0, 59, why=CLOCK),
    between("flights", "clock_gap_min", 0, 0, unit="minutes", why="hour and minute are the scheduled departure"),
    between("flights", "dep_delay", -120, 2880, unit="minutes", why=DELAY),  # -43 to 1,301
    between("flights", "arr_delay", -180, 2880, unit="minutes", why=DELAY),  # -86 to 1,272
    between("flights", "departure_gap_min", 0, 0, unit="minutes", why="a delay is the difference of two clock times"),
    between("flights", "arrival_gap_min", 0, 0, unit="minutes", why="the label is cut from this difference"),
    between("flights", "air_time", 10, 1200, unit="minutes", why="in the air between 20 and 695 minutes in 2013"),
    between("flights", "distance", 10, 6000, unit="miles", why="17 to 4,983 miles from New York in 2013"),
    between("flights", "speed_mph", 40, 900, unit="mph", why="77 to 703 mph in 2013; ties miles to minutes"),
)

WEATHER_EXPECTATIONS = (
    *not_null("weather", ("origin", "time_hour", "year", "month", "day", "hour"), why="weather is joined on them"),
    unique("weather", ("origin", "time_hour"), why="two reports for one hour would double the flights joined to it"),
    one_of("weather", "origin", ORIGINS, why="these three airports have flights"),
    between("weather", "date_gap_months", 0, 0, unit="months", why=PERIOD),
    between("weather", "utc_gap", 0, 0, why=UTC),
    between("weather", "temp", -40, 125, unit="F", why="10.9 to 100.0 in 2013; New York's records are -15 and 106"),
    between("weather", "dewp", -60, 95, unit="F", why="-9.9 to 78.1 in 2013"),
    between("weather", "dew_spread_f", 0, 120, unit="F", why="the dew point is never above the temperature"),
    between("weather", "humid", 0, 101, unit="%", why="relative humidity; 12.7 to 100 in 2013"),
    between("weather", "wind_dir", 0, 360, unit="degrees", why="a direction"),
    between("weather", "wind_speed", 0, 2000, unit="mph", why="0 to 1,048; how many typing errors: see months"),
    between("weather", "wind_gust", 0, 200, unit="mph", why="16 to 67 in 2013"),
    between("weather", "precip", 0, 6, unit="inches", why="0 to 1.21 an hour in 2013"),
    between(
        "weather", "pressure", 900, 1085, unit="millibar", why="983.8 to 1,042.1 in 2013; inches of mercury are 30"
    ),
    between("weather", "visib", 0, 10, unit="miles", why="reports stop at 10 miles; 16 would be kilometres"),
)

PLANE_EXPECTATIONS = (
    rows("planes", 1000, None, why="3,322 planes in 2013; fewer means that the register was cut"),
    *not_null("planes", ("tailnum",), why="flights are joined on it"),
    *not_null("planes", ("year",), share=0.9, why="2 % of the planes have no year of manufacture"),
    *not_null("planes", ("type", "engines", "seats", "engine"), share=0.95, why="always there in 2013"),
    unique("planes", ("tailnum",), why="a plane that is there twice would double its flights"),
    matches("planes", "tailnum", r"^[A-Z0-9]{5,6}$", why="written as in the flights, or no flight finds its plane"),
    between("planes", "year", 1930, 2100, why="year of manufacture; 1956 to 2013"),
    between("planes", "engines", 1, 8, why="1 to 4 in 2013"),
    between("planes", "seats", 1, 900, why="2 to 450 in 2013"),
)

flights_by_month = partial(between, "months", about="flights")
weather_by_month = partial(between, "months", about="weather")

MONTH_EXPECTATIONS = (
    flights_by_month(
        "volume_vs_earlier",
        0.7,
        1.4,
        unit="times the earlier months",
        why="flights a day over their median: 0.98 to 1.06 in 2013; half or twice is a lost or doubled delivery",
    ),
    flights_by_month(
        "volume_vs_earlier",
        0.85,
        1.2,
        unit="times the earlier months",
        why="unusual for these airports, but could be a change of schedule",
        severity="warn",
    ),
    flights_by_month("days_missing", 0, 0, unit="days", why="every day of every month has flights"),
    flights_by_month("carriers", 10, None, why="15 or 16 in 2013; fewer means that a carrier's delivery is missing"),
    flights_by_month(
        "late_share",
        0.05,
        0.50,
        why="0.13 (September) to 0.33 (December) in 2013; outside it the label means something else",
    ),
    flights_by_month("late_share", 0.10, 0.40, why="unusual for these airports", severity="warn"),
    flights_by_month("no_label_share", None, 0.15, why="0.009 to 0.054 (February, snow) have no arrival"),
    flights_by_month("cancelled_share", None, 0.12, why="0.008 to 0.051 (February, snow) were cancelled"),
    flights_by_month("no_tailnum_share", None, 0.05, why="0.003 to 0.018 have no tail number"),
    flights_by_month("plane_coverage", 0.75, None, why="0.83 to 0.85 of the flights find their plane"),
    flights_by_month("weather_coverage", 0.90, None, why="0.967 (31 December is missing) to 1 find their weather"),
    flights_by_month("median_speed_mph", 300, 500, unit="mph", why="375 to 429; 600 and more is kilometres"),
    weather_by_month("weather_hours_share", 0.90, None, why="0.96 to 1 of all hours have a report"),
    weather_by_month(
        "humidity_gap",
        None,
        2,
        unit="points",
        why="humidity follows from temperature and dew point in Fahrenheit to 0.3 points; in Celsius it is 8 off",
    ),
    weather_by_month("wind_off_grid_share", None, 0.01, why="wind is whole knots in mph, always; another unit is not"),
    weather_by_month("precip_off_grid_share", None, 0.01, why="rain is hundredths of an inch, always"),
    weather_by_month("wind_outlier_share", None, 0.005, why="one typing error (1,048 mph) in February 2013"),
    *(
        weather_by_month(f"no_{column}_share", None, 0.05, why="at most 0.001 of the reports lack it in 2013")
        for column in ("temp", "dewp", "humid", "wind_speed", "precip", "visib")
    ),
    weather_by_month("no_wind_gust_share", None, 0.98, why="0.64 to 0.90 of the hours have no gusts in 2013"),
    weather_by_month("no_wind_dir_share", None, 0.15, why="0.008 to 0.030 in 2013: calm or variable wind"),
    weather_by_month("no_pressure_share", None, 0.35, why="0.059 to 0.150 in 2013"),
)


def _limits(warn: float, stop: float | None) -> tuple[tuple[float, Severity], ...]:
    """The limits that a shift has, the harder one first."""
    return ((warn, "warn"),) if stop is None else ((stop, "stop"), (warn, "warn"))


# How far a month's distribution may be from that of the months before it together: Jensen-Shannon distance, 0 to 1 (see
# core/profiles.py). Beside each the largest of 2013, months against all before them. Seasons move the weather by more
# than any mistake would, hence units and ranges are checked above, and of the weather only what seasons leave alone.
SHIFTS: tuple[tuple[Profile, float, float | None, str], ...] = (  # what, warn above, stop above, why
    (Profile("flights", "carrier"), 0.06, 0.15, "0.03 at most in 2013; more is a carrier lost, renamed or doubled"),
    (Profile("flights", "origin"), 0.06, 0.12, "0.03 at most in 2013; an airport lost or two that were mixed up"),
    (Profile("flights", "dest"), 0.15, 0.25, "0.10 at most in 2013; destinations renamed, or of another region"),
    (
        Profile("flights", "hour", tuple(range(5, 24))),
        0.07,
        0.12,
        "0.04 at most in 2013; an hour's shift, as of another time zone, is 0.21",
    ),
    (
        Profile("flights", "distance", (200, 300, 500, 700, 900, 1100, 1400, 2000, 2500)),
        0.08,
        0.15,
        "0.04 at most in 2013; other routes, or another unit",
    ),
    (
        Profile("flights", "arr_delay", (-30, -20, -10, -5, 0, 5, 15, 30, 60, 120)),
        0.25,
        0.40,
        "0.18 at most in 2013 (September); the label is cut from it",
    ),
    (
        Profile("flights", "air_time", (40, 60, 90, 120, 150, 200, 300)),
        0.15,
        0.25,
        "0.10 at most in 2013; other routes, or another clock",
    ),
    (
        Profile("weather", "wind_speed", (3, 6, 9, 12, 15, 20, 25)),
        0.35,
        None,
        "0.22 at most in 2013; another instrument or unit",
    ),
    (Profile("weather", "visib", (1, 3, 5, 8, 10)), 0.30, None, "0.20 at most in 2013; another scale"),
)

SHIFT_EXPECTATIONS = tuple(
    between("months", profile.measure, None, limit, why=why, severity=severity, about=profile.table)
    for profile, warn, stop, why in SHIFTS
    for limit, severity in _limits(warn, stop)
)

BATCH_EXPECTATIONS = (
    fresh(2, why="at most 1 in 2013 (31 December has no weather); more was delivered before the month was over"),
    copied(
        0.05,
        why="0.0007 at most in 2013 (cancelled flights that repeat); more is last month's delivery with new dates",
    ),
    null_rise(0.25, why="0.11 at most in 2013 (gusts); more is a column that was lost or a join that failed"),
    null_rise(0.15, why="unusual; a column that is filled less than before", severity="warn"),
    corrected(
        0.05, why="a month of which so much is different now is another month: ask what it was trained on before"
    ),
    corrected(
        0.0,
        why="a month that the champion learnt from was corrected since; its figures are not comparable",
        severity="warn",
    ),
)

# What the earlier months kept and this one does not. How much more than they did it may stray is in core/relations.py,
# docs/contract.md says on which months none is called broken.
TIES = (
    Ties("flights", (("tailnum",), ("origin", "dest"), ("carrier", "flight")), groups=("carrier", "origin")),
    Ties("weather", groups=("origin",)),
)

RELATION_EXPECTATIONS = (
    kept("dependency", why="a plane has one carrier, a route one distance; else codes or units were mixed up"),
    kept(
        "implication", why="what is empty where its cause is empty was filled in by somebody, such as a made-up delay"
    ),
    kept("equality", why="two columns that differed are the same: one was written over the other"),
    kept("group_shift", why="one carrier or airport moved while the others stand still: its own unit, clock or join"),
    kept("group_nulls", why="one carrier or airport lost or gained values while the others did not"),
    kept("group_copy", why="one group's rows are another's under its name"),
    kept("collapse", why="a column holds far fewer different values: filled, rounded, or stuck"),
    kept("still", why="a whole day without any variation was filled in, or the instrument is stuck"),
)

EXPECTATIONS: tuple[Expectation, ...] = (
    *owned(AIRLINES, FLIGHT_EXPECTATIONS),
    *owned(METEOROLOGY, WEATHER_EXPECTATIONS),
    *owned(REGISTER, PLANE_EXPECTATIONS),
    *owned(MODELLING, MONTH_EXPECTATIONS),
    *owned(MODELLING, SHIFT_EXPECTATIONS),
    *owned(DELIVERY, BATCH_EXPECTATIONS),
    *owned(DELIVERY, RELATION_EXPECTATIONS),
)

CONTRACT = Contract(
    name="flight_delay/v2",
    owner=DELIVERY,
    tables=(FLIGHTS, WEATHER, PLANES),
    expectations=EXPECTATIONS,
    derive=facts.derive,
    compare=facts.compare,
    profiles=tuple(profile for profile, *_ in SHIFTS),
    ties=TIES,
)
