"""The read-out of an A/B test from late labels: which version is better for the keys that it was given, by how much?

The unit is the key, since keys were drawn: each counts with the mean of its answers, for the version that it was
assigned to, whichever answered in the end. It may be made anew as often as one likes. It must not know where answers
are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from greenlight.core.ab_test import SRM_ALPHA, AbTest, Arm, Decision, Readout
from greenlight.core.always_valid import Interval, Mean, SampleRatio, difference, sample_ratio
from greenlight.core.assignment import TOTAL, split

CLIP = 1e-6  # of a probability, so that one wrong certainty is no infinite loss
MOST = 2**20  # times as many keys; a test that needs more is not decided in anyone's lifetime


def read_out(answers: pl.DataFrame, test: AbTest) -> Readout:
    """Read the test out.

    Parameters
    ----------
    answers : DataFrame
        All answers of both versions to requests that were shared while it ran: ``at``, ``request_id``, ``row``,
        ``prediction_id``, ``version``, ``key``, ``decision``, ``probability``, and ``label`` (null where not known).

    Source
    ------
    The unit of analysis is the unit of randomisation, and everybody counts for the arm that was drawn: Kohavi, Tang and
    Xu, "Trustworthy Online Controlled Experiments", 2020, chapters 14 and 21 (also: a sample ratio mismatch comes
    before any result). Interval and check: `greenlight.core.always_valid`.
    """
    names = answers["key"].unique().to_list()
    arms = pl.DataFrame(
        {"key": names, "arm": [test.assigned(key) for key in names]}, {"key": pl.String, "arm": pl.String}
    )
    known = answers.join(arms, on="key", how="left").with_columns(here=pl.col("version") == pl.col("arm"))
    its = known.filter(pl.col("arm") != "")
    # A request that both versions answered counts once, for the one that was drawn.
    drawn = its.filter("here").select("request_id", "row").unique()
    second = its.filter(~pl.col("here"))
    counted = pl.concat([its.filter("here"), second.join(drawn, on=["request_id", "row"], how="anti")])
    means = _by_key(counted, test.metric)
    versions = (test.candidate, test.stable)
    values = {version: means.filter(pl.col("arm") == version)["value"].to_numpy() for version in versions}
    mean = {version: Mean.of(values[version]) for version in versions}
    first = its.sort("at", "prediction_id").unique("key", keep="first", maintain_order=True)
    share = dict(split(test.candidate, test.weight, test.stable))
    seen = {version: first.filter(pl.col("version") == version).height for version in versions}
    labelled = {version: mean[version].n for version in versions}
    interval = advantage(test, mean)
    found = {
        version: Arm(
            seen[version],
            counted.filter(pl.col("arm") == version).height,
            counted.filter(pl.col("arm") == version)["label"].count(),
            labelled[version],
            mean[version].mean if mean[version].n else math.nan,
        )
        for version in versions
    }
    keys, of_labels = sample_ratio(seen, share), sample_ratio(labelled, share)
    more = _more(test, mean)
    decision, reasons = _decide(test, found, interval, keys, of_labels, more)
    return Readout(decision, reasons, found, interval, keys, of_labels, second.height, known.height - its.height, more)


def _by_key(answers: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Each key's mean of the metric over its labelled answers: ``key``, ``arm``, ``value``."""
    truth, p = pl.col("label") == 1, pl.col("probability").cast(pl.Float64).clip(CLIP, 1 - CLIP)
    value = {
        "accuracy": (pl.col("decision") == truth).cast(pl.Float64),
        "log_loss": -pl.when(truth).then(p.log()).otherwise((1 - p).log()),
    }[metric]
    known = answers.filter(pl.col("label").is_not_null()).with_columns(value=value)
    return known.group_by("key", "arm").agg(pl.col("value").mean()).sort("key")


def advantage(test: AbTest, mean: Mapping[str, Mean]) -> Interval:
    """The difference, turned so that more is better."""
    better, worse = test.candidate, test.stable
    if test.metric == "log_loss":
        better, worse = worse, better
    tuned = 2 * test.least * TOTAL // min(test.weight, TOTAL - test.weight)
    return difference(mean[better], mean[worse], alpha=1 - test.confidence, tuned_for=tuned, least=test.least)


def _decided(test: AbTest, interval: Interval) -> Decision:
    if interval.low > 0:
        return "better"
    if interval.low > -test.margin:
        return "not_worse"
    return "worse" if interval.high < 0 else "undecided"


def _more(test: AbTest, mean: Mapping[str, Mean]) -> int | None:
    """How many more labelled keys would decide, in all, were they like those so far."""
    seen = sum(its.n for its in mean.values())
    if not all(its.n for its in mean.values()):
        return None

    def told(times: float) -> bool:
        grown = {v: Mean(int(its.n * times), its.mean, its.squares * times) for v, its in mean.items()}
        return _decided(test, advantage(test, grown)) != "undecided"

    if told(1):
        return 0
    low, high = 1.0, 2.0
    while not told(high):
        low, high = high, high * 2
        if high > MOST:
            return None
    while (high - low) * seen > 1:
        middle = (low + high) / 2
        low, high = (low, middle) if told(middle) else (middle, high)
    return math.ceil((high - 1) * seen)


def _decide(
    test: AbTest,
    arms: Mapping[str, Arm],
    interval: Interval,
    keys: SampleRatio,
    labelled: SampleRatio,
    more: int | None,
) -> tuple[Decision, tuple[str, ...]]:
    for its, what in ((keys, "keys"), (labelled, "keys with a label")):
        if its.mismatch(SRM_ALPHA):
            counts = ", ".join(
                f"{n} of {version} (planned {its.expected[version]:.0f})" for version, n in its.observed.items()
            )
            return "undecided", (
                f"A/B: the {what} are not shared as planned: {counts}; some were lost or counted on the way, and no "
                "result of this test can be trusted",
            )
    lacking = [
        f"{test.least - arm.labelled_keys} more of {v}" for v, arm in arms.items() if arm.labelled_keys < test.least
    ]
    if lacking:
        return "undecided", (
            f"A/B: keys with a label are missing: {' and '.join(lacking)} (at least {test.least} of each version)",
        )
    decision = _decided(test, interval)
    told = f"A/B: {test.metric.replace('_', ' ')} of {words(test, arms, interval)}"
    if decision == "undecided":
        wait = f"about {more} more keys with a label would tell" if more else "no number of keys would tell"
        return decision, (f"{told}: neither worse nor shown to be within {test.margin:g}; {wait}",)
    said = {"better": "better", "not_worse": f"not worse by more than {test.margin:g}", "worse": "worse"}[decision]
    return decision, (f"{told}: {test.candidate} is {said}",)


def words(test: AbTest, arms: Mapping[str, Arm], interval: Interval) -> str:
    """Means and interval in one line."""
    means = ", ".join(f"{version} {arm.mean:.4f} ({arm.labelled_keys} keys)" for version, arm in arms.items())
    return f"{means}; advantage {interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
