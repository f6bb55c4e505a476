"""Many retrains at once: who goes first, who joins, and whom a candidate is compared with in the end.

Everything up to the verdict may happen side by side. Two turns below ``<home>/locks`` order the rest:

- *the same retrain* (same commit, changes, data and parameters): one works, whoever else is started waits and joins.
- *the promotion*: from the verdict "promote" on, one run at a time. Inside it the champion is looked at again, so that
  no model replaces a champion that it was never compared with.

The kernel frees a turn when its holder dies, and the next one in line goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from greenlight.adapters import locks
from greenlight.adapters.locks import Turn
from greenlight.config import Settings
from greenlight.core.verdict import Verdict
from greenlight.operations.looks import judged
from greenlight.operations.plan import Plan
from greenlight.operations.release import turn_of
from greenlight.operations.retrain import Run
from greenlight.operations.serving import Log, silent
from greenlight.operations.workspace import lay_champion, remove, write_params
from greenlight.wiring import Project


@dataclass(frozen=True)
class End:
    """How a retrain ended, for those that asked for the same.

    Attributes
    ----------
    name : str
        The end's name, such as ``Promoted``.
    green : bool
    message : str
    """

    name: str
    green: bool
    message: str


class Alone:
    """The turn of one retrain among those that ask for the same.

    Attributes
    ----------
    joined : End or None
        How the one ended that did the work meanwhile; None for the one that has to do it.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.joined = End(**turn.left) if turn.left else None

    def ended(self, end: End) -> None:
        """Tell those who wait how it ended. An error is no end to share: the next one in line tries for itself."""
        self._turn.leave({"name": end.name, "green": end.green, "message": end.message})


@contextmanager
def alone(project: Project, plan: Plan, log: Log = silent) -> Iterator[Alone]:
    """Do this retrain once, however many ask for it at the same time.

    Parameters
    ----------
    log : callable
        Takes a line while another one does the work.
    """
    path = _locks(project.settings) / "same" / f"{fingerprint(project, plan)[:16]}.lock"
    with locks.turn(path, f"the same retrain, {plan.run}", log) as turn:
        yield Alone(turn)


def fingerprint(project: Project, plan: Plan) -> str:
    """What two retrains must share to be the same: commit, uncommitted changes, resolved parameters, source."""
    parts = (project.repository.head().encode(), project.repository.changes(), plan.params.model_dump_json().encode())
    return sha256(b"\0".join(sha256(part).digest() for part in parts)).hexdigest()


@contextmanager
def promotion(run: Run, log: Log = silent) -> Iterator[None]:
    """The turn to become a version and to be released; waits for the run that has it."""
    with locks.turn(_locks(run.project.settings) / "promotion.lock", f"the promotion of {run.name}", log):
        # A release that somebody drives has its end first: the candidate is compared with what serves then.
        with locks.turn(turn_of(run.project.settings.home), f"a look of {run.name}", log):
            pass
        yield


def challenge(run: Run, verdict: Verdict, log: Log = silent) -> Verdict:
    """The verdict against the champion of this moment; to be asked for with the promotion's turn in hand.

    If another version serves than the plan knew, the candidate is compared with that one: its files are laid out anew,
    what depends on them runs again in the same folder, and the record names it. A champion that was trained on the
    candidate's holdout cannot be compared with on it: that verdict is inconclusive, and the champion stays.
    """
    now = run.project.registry.champion()
    if now is None or verdict.champion == now.name:
        return verdict
    log(f"{now.name} serves since this run began (it knew {verdict.champion or 'none'}): comparing with it")
    raw = run.plan.params.model_dump() | {"champion": {"version": now.name, "run": now.run}}
    params = type(run.plan.params).check(raw, where="params.yaml")
    params = params.model_copy(update={"judged": judged(run.project, params, now)})
    with run.workspace.noting_failure():
        run.plan = replace(run.plan, params=params, champion=now)
        run.workspace = replace(run.workspace, params=params)
        write_params(
            run.workspace.root / "params.yaml", {"champion": raw["champion"], "judged": params.judged.model_dump()}
        )
        remove(run.workspace.path("champion"))
        warnings = lay_champion(run.project, run.workspace, run.pipeline, now)
        run.workspace = replace(run.workspace, warnings=warnings)
    # `validate` too: it sets the months beside those that the champion learnt from. What comes out as before is not
    # executed again.
    for stage in ("validate", "featurize", "train", "evaluate", "gate"):
        log(run.stage(stage))
    return run.verdict()


def _locks(settings: Settings) -> Path:
    return settings.home / "locks"
