"""Retrain, prove, record, register, build and release: the main job."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks
from flows.release import release
from greenlight.core.verdict import Verdict
from greenlight.operations.plan import Plan
from greenlight.operations.retrain import Run


@flow(name="retrain", flow_run_name="retrain {as_of}", persist_result=False)
@ends.named
def retrain(
    as_of: str = "next",
    device: Literal["", "auto", "cpu", "cuda"] = "",
    overrides: dict[str, Any] | None = None,
) -> State:
    """Train on the months before `as_of`, judge on `as_of`, and serve the model if it deserves to.

    What happens, in this order; each is a task and a line in the run's page:

    1. **plan**: what killed processes left is removed; which month is the holdout, which version is the champion,
       which device trains. Nothing new to train on ends here as `NothingNew`. If the same retrain (commit, changes,
       data, parameters) is at work already, this one waits for it and ends as `Joined`, with its answer; if that one
       dies or fails, this one does the work.
    2. **workspace**: a clone of the repository at its present commit, below `.greenlight/runs/`.
    3. **snapshot, validate**: fetch the months, check them against the contract. A broken contract is recorded and ends
       as `DataRejected`.
    4. **featurize, train, evaluate, gate**: build features, train, score candidate and champion on the holdout, judge.
       A stage whose inputs did not change comes from DVC's cache.
    5. **challenge**: from here on one candidate at a time; another one waits and says for whom, a release that somebody
       drives included. If a version was released since the plan, the candidate is compared with that one (`evaluate`
       and `gate` once more), and that verdict counts. Where the new champion was trained on the candidate's holdout
       they cannot be compared: `Inconclusive`, the champion stays.
    6. **record**: push the data, save the run as a DVC experiment. A "no" of the gates ends here as `KeptChampion`, a
       "cannot tell" as `Inconclusive`. A candidate that is, to the byte, a version that somebody rolled back from, or
       whose release was rolled back or aborted, ends as `KeptChampion` too: only a person puts that one back.
    7. **register, build**: the next version as a Git tag, and its bento.
    8. **release** (a flow of its own): preflight, start, then by `release.strategy`: by default copies of the requests
       (shadow), a growing share of them (canary), all of them. The first version of all gets them at once. Ends as
       `Promoted`; as `RolledBack` where the evidence spoke against the version; as `Waiting` where nobody asks for
       predictions: silence passes nothing. The champion serves on, the message says what is waited for, and the stack
       drives the release on once somebody asks. Retraining again meanwhile arrives at the same version and drives that
       release on; a candidate that is another one ends it (`release.newer`).

    What a red state means, and what to do:

    - `DataRejected`: the data broke its contract; the champion serves on. Read the artifact "contract" and mend the
      source, or change the contract if the world changed.
    - `Failed`: something broke that is no verdict (disk, remote, a bug). The message says what, where and what next.
      Running it again is always safe.

    Args:
        as_of: The month held out to judge the candidate on, such as 2013-08, or "next": the first after the champion's
            on which no candidate was refused.
        device: Where to train: "auto" takes a GPU if there is one, "cpu", "cuda"; empty takes params.yaml's.
        overrides: Other parameters of this run alone, such as {"train.seed": 7}; keys as in params.yaml, with dots.
    """
    plan = tasks.plan(as_of, device, overrides)
    if plan.nothing_new:
        return ends.nothing_new(plan)
    with tasks.alone(plan) as turn:
        if turn.joined:
            return ends.joined(turn.joined)
        return ends.told(turn, _work(plan))


def _work(plan: Plan) -> State:
    """From the workspace to the end."""
    run = tasks.workspace(plan)
    tasks.stage(run, "snapshot")
    contract = tasks.validate(run)
    if not contract.passed:
        tasks.record(run, ends.DATA_REJECTED, contract)
        return ends.data_rejected(run, contract)
    tasks.stage(run, "featurize")
    tasks.stage(run, "train")
    tasks.stage(run, "evaluate")
    verdict = tasks.gate(run)
    with tasks.promotion(run, verdict):
        return _promote(run, tasks.challenge(run, verdict))


def _promote(run: Run, verdict: Verdict) -> State:
    """From the verdict to the end; for a candidate that passed, one at a time."""
    withdrawn = tasks.withdrawn(run, verdict)
    if withdrawn:
        tasks.record(run, ends.KEPT_CHAMPION, withdrawn)
        return ends.withdrawn(run, withdrawn)
    commit = tasks.record(run, ends.OUTCOMES[verdict.decision], verdict)
    if not verdict.promoted:
        return ends.kept(run, verdict)
    version = tasks.register(run, commit)
    tasks.build(run, version)
    released = release(version.name, instead_of=run.compared_with, unattended=True, return_state=True)
    return ends.promoted(run, version, verdict, released)


if __name__ == "__main__":
    retrain()
