"""Step in where a release is under way."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks
from greenlight.operations.step_in import Action


@flow(name="step-in", flow_run_name="{action} the release", persist_result=False)
@ends.named
def step_in(action: Action) -> State:
    """Pause, resume, advance or abort the release that is under way, beside whatever drives it.

    - `pause`: the traffic stays as it is, and nothing but a roll back moves it.
    - `resume`: it may go on. What drives it does so; where nothing does, the flow `release` without a version drives
      it, and the stack starts that by itself once somebody asks for predictions.
    - `advance`: the next step now, whatever the evidence lacks; from the last one all traffic. Refused where the
      evidence speaks against the candidate.
    - `abort`: all traffic back to the stable version, now.

    The same from the command line: `greenlight release --pause`, `--resume`, `--advance`, `--abort`.

    What a red state means: `Failed`: no release is under way, or it cannot be moved for the reason in the message;
    nothing was changed.

    Args:
        action: What to do to the release.
    """
    return ends.stepped_in(tasks.step_in(action))
