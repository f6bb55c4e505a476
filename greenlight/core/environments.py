"""What of a run's environment is another one on this machine, and which of it can move bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greenlight.core.changes import Change, changes

# What only says where it ran, or is there twice.
ASIDE = ("seed", "from_cache")
REASONS = {
    "device": "another device sums in another order",
    "threads": "another number of threads",
    "cpus": "another number of threads",
    "imported": "other versions of the libraries",
    "libraries": "other versions of the libraries",
    "lock_sha256": "another lock",
    "processor": "another processor rounds and vectorises otherwise",
    "machine": "another processor rounds and vectorises otherwise",
    "python": "another interpreter",
    "implementation": "another interpreter",
    "build": "another interpreter",
    "libc": "another C library",
    "platform": "another operating system",
    "cuda_runtime": "another CUDA",
    "variables": "other environment variables",
}


def environment_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs, only where both sides say something.

    A run that was recorded by an older Greenlight says less, and of stages that came from DVC's cache nothing is known;
    what was not written down is no difference. A variable that one side lacks is one.

    Parameters
    ----------
    before, after : mapping
        An environment of a run's record with its ``device`` beside it.
    """
    kept = []
    for change in changes(_told(before, after), _told(after, before)):
        section = change.what.split(".")[0]
        missing = change.before is None or change.after is None
        if missing and section != "variables":
            continue
        kept.append(change)
    return tuple(kept)


def reasons(found: Sequence[Change]) -> tuple[str, ...]:
    """Why bits may differ, given what differs; each once."""
    named = (REASONS.get(change.what.split(".")[0]) for change in found)
    return tuple(dict.fromkeys(reason for reason in named if reason))


def _told(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What both sides say something of."""
    told = {key: value for key, value in one.items() if key in other and key not in ASIDE}
    return told | ({"device": _device(one)} if "device" in told else {})


def _device(side: Mapping[str, Any]) -> dict[str, Any]:
    """What the device is; why it was chosen is a sentence and no fact about it."""
    return {key: value for key, value in side["device"].items() if key != "reason"}
