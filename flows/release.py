"""Bring a version to traffic."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks


@flow(name="release", flow_run_name="release {version}", persist_result=False)
@ends.named
def release(
    version: str = "",
    strategy: str = "",
    instead_of: str | None = None,
    supersede: bool = False,
    unattended: bool = False,
) -> State:
    """Let `version` take over the traffic, by `strategy` or the one in params.yaml (`release.strategy`).

    First, whatever the strategy: find its bento (or rebuild it from its run), preflight it, start its servers beside
    those of the stable version. Then:

    - `full`: switch the edge by one atomic rename, write the release into the ledger (`<model>#prod#<K>`), let the old
      servers finish what they began, stop them.
    - `shadow`: the candidate gets copies of the requests; its answers go nowhere and nobody waits for them.
    - `canary`: it answers a growing share. What it fails to answer, the stable version answers; nobody sees it fail.
    - `ab`: it answers a share of the keys (`x-greenlight-key`), for the days that params.yaml says.
    - several with commas, or `plan`, the default (`release.plan`: shadow, canary, full); all of them end with all
      traffic. The first version of all goes to all traffic at once.

    Between the steps the evidence is judged: failures that users never saw, slow answers. `greenlight status` shows the
    step, the evidence and what is waited for. This flow only drives the release: killed at any step it leaves the
    traffic as it was, with the edge taking out a candidate that fails; started again it goes on from there.

    How it ends:

    - `Released`: the version serves all traffic, or did so already.
    - `RolledBack`: the evidence spoke against it; all traffic is with the version from before. Look at the artifact.
    - `Waiting`: it stands at a step, safe, and lacks what the message says (traffic, as a rule), or waits for its turn.
      The artifact says what goes on from there. Once somebody asks for predictions, the stack starts this flow without
      a version, which drives it on; so can a person.
    - `Unchanged`: it was asked to drive on, and no release is under way.
    - `Aborted`, `Superseded`: a person, or a newer version, ended it.
    - `Failed` before the switch changed nothing for users (the message names the check that said no); after the switch
      the new version serves, and running the release again finishes what is left.

    To step in: the flow `step-in`, or `greenlight release --pause`, `--resume`, `--advance`, `--abort`; or
    `greenlight rollback`.

    Args:
        version: Such as v3; `greenlight runs` lists them. Empty: drive on the release that is under way.
        strategy: full, shadow, canary, ab, several of them with commas, or plan; empty: what params.yaml says. Another
            one than the version's release under way has takes its place: full gives it all traffic now.
        instead_of: The version that it was compared with; if another one serves by now, nothing is changed. Left out:
            whatever serves.
        supersede: End a release of another version that is under way, instead of waiting for it.
        unattended: Nobody waits for it: end as Waiting soon where nobody asks for predictions (`release.quiet_s`), and
            do with another release that stands at a step what `release.newer` says. A retrain releases so.
    """
    return ends.released(tasks.release(version, instead_of, strategy, supersede, unattended))
