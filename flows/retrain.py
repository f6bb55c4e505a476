"""Retrain, prove, record, register, build and release: the main job."""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks
from flows.release import release


@flow(name="retrain", flow_run_name="retrain {as_of}", persist_result=False)
@ends.named
def retrain(as_of: str = "next", device: Literal["", "auto", "cpu", "cuda"] = "") -> State:
    """Train on the months before `as_of`, judge on `as_of`, and serve the model if it deserves to.

    What happens, in this order; each is a task and a line in the run's page:

    1. **plan**: which month is the holdout, which version is the champion, which device trains. Nothing new to train
       on ends here as `NothingNew`.
    2. **workspace**: a clone of the repository at its present commit, below `.greenlight/runs/`.
    3. **snapshot, validate**: fetch the months, check them against the contract. A broken contract is recorded and ends
       as `DataRejected`.
    4. **featurize, train, evaluate, gate**: build features, train, score candidate and champion on the holdout, judge.
       A stage whose inputs did not change comes from DVC's cache.
    5. **record**: push the data, save the run as a DVC experiment. A "no" of the gates ends here as `KeptChampion`, a
       "cannot tell" as `Inconclusive`. A candidate that is, to the byte, a version that somebody rolled back from ends
       as `KeptChampion` too: only a person puts that one back.
    6. **register, build**: the next version as a Git tag, and its bento.
    7. **release** (a flow of its own): preflight, start, switch the edge, drain the old version. Ends as `Promoted`.

    What a red state means, and what to do:

    - `DataRejected`: the data broke its contract; the champion serves on. Read the artifact "contract" and mend the
      source, or change the contract if the world changed.
    - `Failed`: something broke that is no verdict (disk, remote, a bug). The message says what, where and what next.
      Running it again is always safe.

    Args:
        as_of: The month held out to judge the candidate on, such as 2013-08, or "next": the one after the champion's.
        device: Where to train: "auto" takes a GPU if there is one, "cpu", "cuda"; empty takes params.yaml's.
    """
    plan = tasks.plan(as_of, device)
    if plan.nothing_new:
        return ends.nothing_new(plan)
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
    withdrawn = tasks.withdrawn(run, verdict)
    if withdrawn:
        tasks.record(run, ends.KEPT_CHAMPION, withdrawn)
        return ends.withdrawn(run, withdrawn)
    commit = tasks.record(run, ends.OUTCOMES[verdict.decision], verdict)
    if not verdict.promoted:
        return ends.kept(run, verdict)
    version = tasks.register(run, commit)
    tasks.build(run, version)
    released = release(version.name, return_state=True)
    return ends.promoted(run, version, verdict, released)


if __name__ == "__main__":
    retrain()
