"""Drive a release by steps: look, judge, move; and what a person may do to it meanwhile.

The desired state says what must be; each move is saved before the edge is told, under the right to change what serves,
and that right is given back between two looks. So a person can step in at any moment, and whoever drives may be killed
at any moment: nobody sees the candidate fail (the edge sees to that), and the next drive goes on where this one was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from greenlight.config import Params
from greenlight.core import rollout as steps
from greenlight.core.assignment import TOTAL
from greenlight.core.release import Desired
from greenlight.core.release_evidence import Evidence, Judgement
from greenlight.core.release_plan import FULL, Rollout, Step
from greenlight.errors import EdgeError, UsageError
from greenlight.operations import evidence as known
from greenlight.operations.evidence import EdgeSource, EvidenceFile, Source
from greenlight.operations.rollout_end import end as end
from greenlight.operations.rollout_end import end_in
from greenlight.operations.rollout_end import none_under_way as none_under_way
from greenlight.operations.serving import Serving

# Envoy away for a moment (its supervisor starts it again) is no reason to end a drive.
PATIENCE_WITH_EDGE_S = 30.0


def steps_of(kinds: Sequence[str], params: Params) -> tuple[Step, ...]:
    """The steps that a strategy takes, as params.yaml has them."""
    asked, found = params.release, []
    for kind in kinds:
        if kind == "shadow":
            shadow = asked.shadow
            found.append(Step(kind, 0, _share(shadow.percent), False, shadow.min_requests, shadow.min_seconds))
        elif kind == "canary":
            canary = asked.canary
            for percent in canary.percent:
                found.append(Step(kind, _share(percent), 0, canary.sticky, canary.min_requests, canary.min_seconds))
        elif kind == "ab":
            test = asked.ab
            found.append(
                Step(kind, _share(test.percent), 0, True, test.min_requests, test.days * 86_400, test.hypothesis)
            )
        else:
            found.append(FULL)
    return tuple(found)


def _share(percent: float) -> int:
    return max(1, round(percent * TOTAL / 100))


class Drive:
    """One drive of the release that is under way.

    Parameters
    ----------
    serving : Serving
    rollout : Rollout
        Warm, and at any step.
    sources : sequence of Source, optional
        Who is asked; left out: the edge.
    """

    def __init__(self, serving: Serving, rollout: Rollout, sources: Sequence[Source] = ()) -> None:
        self.serving = serving
        self.id = rollout.id
        self.file = EvidenceFile(serving.settings.home)
        self.params = serving.project.params
        limits = known.limits(self.params, rollout)
        begun = self.file.load(rollout, limits)
        if begun is None:
            slow_ms = known.slow_limit(serving.edge, rollout, self.params.preflight.max_p99_ms)
            begun = Evidence(rollout.id, limits, slow_ms)
        self.evidence = begun
        edge = EdgeSource(serving.edge, begun.slow_ms, self.params.preflight.max_p99_ms)
        self.sources = (edge, *sources)
        self.told = ""

    def begin(self) -> None:
        """Have the edge do what the present step says, from counters that are known.

        Without a look before the first request reaches the candidate nothing would tell its requests from earlier ones.
        """
        with self.serving.desired.changing("a release"):
            state = self.serving.desired.load()
            rollout = self._mine(state)
            if rollout is None:
                return
            self._look(rollout)
            state = (
                self.serving.desired.save(steps.proceed(state), f"{rollout.where} goes on")
                if (rollout.waits_for)
                else state
            )
            self.serving.follow(state)

    def run(self, *, unattended: bool = False) -> Desired:
        """Until the release has ended, or there is nothing to be learnt for the moment; returns the state then.

        Parameters
        ----------
        unattended : bool
            Nobody waits for requests to come: the drive ends once there were none at all for ``quiet_s``.

        Raises
        ------
        EdgeError
            Envoy is away, and does not come back; the release is as it was.
        """
        asked = self.params.release
        begun = heard = time.monotonic()
        self.begin()
        silence = _Silence(begun)
        while True:
            try:
                state = self.move()
                silent_s = silence.look(self.serving.edge.asked(), time.monotonic())
            except EdgeError:
                if time.monotonic() - heard > PATIENCE_WITH_EDGE_S:
                    raise
                time.sleep(asked.look_s)
                continue
            heard = time.monotonic()
            rollout = self._mine(state)
            if rollout is None:
                return state
            if unattended and silent_s > asked.quiet_s:
                self.serving.log(f"nobody asked for a prediction for {asked.quiet_s:g} s")
                return self._wait(rollout)
            idle_s = time.time() - max(self.evidence.last_request_at, time.time() - (time.monotonic() - begun))
            undecided = self._had_its_time(rollout) and time.monotonic() - begun > asked.longest_s
            if idle_s > asked.patience_s or undecided:
                return self._wait(rollout)
            time.sleep(asked.look_s)

    def move(self) -> Desired:
        """One look and what follows from it; returns the state afterwards."""
        serving = self.serving
        with serving.desired.changing("a release"):
            state = serving.desired.load()
            rollout = self._mine(state)
            if rollout is None:
                return state
            self._look(rollout)
            judged = self.evidence.judge(rollout)
            self._tell(rollout, judged)
            if judged.move == "roll_back":
                return end_in(serving, state, "rolled_back", "; ".join(judged.reasons))
            if rollout.paused or judged.move == "hold":
                return state
            return step_on(serving, state, "; ".join(judged.reasons))

    def _look(self, rollout: Rollout) -> None:
        known.look(self.sources, rollout, self.evidence, time.time())
        self.file.save(self.evidence)

    def _mine(self, state: Desired) -> Rollout | None:
        """The release that this drive is for, unless it has ended."""
        return state.rollout if state.rollout and state.rollout.id == self.id else None

    def _had_its_time(self, rollout: Rollout) -> bool:
        """Whether the step lasted as long as it must: before that it is on its way, and not undecided."""
        return self.evidence.seconds >= rollout.current.min_seconds

    def _wait(self, rollout: Rollout) -> Desired:
        with self.serving.desired.changing("a release"):
            state = self.serving.desired.load()
            if self._mine(state) is None:
                return state
            lacks = self.evidence.judge(rollout).reasons
            what = "a person: greenlight release --resume" if rollout.paused else "; ".join(lacks)
            state = self.serving.desired.save(steps.wait(state, what), f"{rollout.where} waits: {what}")
            self.serving.follow(state)
            return state

    def _tell(self, rollout: Rollout, judged: Judgement) -> None:
        """One line whenever something else is waited for."""
        kind = "paused" if rollout.paused else judged.move
        line = f"{rollout.where}: {kind}"
        if line != self.told:
            self.told = line
            self.serving.log(f"{line}, {'; '.join(judged.reasons)}")


class _Silence:
    """How long nobody has asked for a prediction, from a count that only grows."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._count: int | None = None

    def look(self, count: int, now: float) -> float:
        if self._count is not None and count != self._count:
            self._since = now
        self._count = count
        return now - self._since


def step_on(serving: Serving, state: Desired, reason: str) -> Desired:
    """The next step, or all traffic; call it while holding the right to change what serves."""
    rollout = state.rollout
    assert rollout is not None
    if not rollout.is_last:
        state = serving.desired.save(steps.advance(state, time.time()), f"{rollout.where} passed: {reason}")
        serving.follow(state)
        assert state.rollout is not None
        serving.log(f"{state.rollout.where}")
        return state
    return promote(serving, state, rollout, reason)


def promote(serving: Serving, state: Desired, rollout: Rollout, reason: str) -> Desired:
    """All traffic to the candidate, from whatever step; call it while holding the right to change what serves."""
    keep = serving.project.params.release.keep_warm
    promoted = steps.promote(state, keep_warm=keep, reason=reason, now=time.time())
    # From here on a crash is finished forwards: whoever comes next reads that the new version is the live one.
    state = serving.desired.save(promoted, f"traffic to {rollout.version}")
    serving.edge.set_live(state.live, steps.traffic(state).addressable)
    serving.log(f"all traffic goes to {rollout.version}, before {rollout.stable}")
    serving.project.registry.assign(serving.project.registry.get(rollout.version))
    serving.settle(rollout)
    return serving.retire(state)


def pause(serving: Serving) -> Desired:
    """Hold the release: the traffic stays as it is, and only a roll back moves it."""
    return _move(serving, "pause")


def resume(serving: Serving) -> Desired:
    """Let the release go on."""
    return _move(serving, "resume")


def advance(serving: Serving) -> Desired:
    """The next step now, whatever the evidence lacks; from the last step on all traffic.

    Raises
    ------
    UsageError
        The evidence speaks against the candidate; only a release of its own gives it the traffic.
    """
    with serving.desired.changing("a person's advance"):
        state = _under_way(serving)
        rollout = ready_to_move(serving, state)
        if rollout.waits_for or rollout.paused:
            state = serving.desired.save(steps.resume(steps.proceed(state)), f"{rollout.where} goes on")
        return step_on(serving, state, "a person said so")


def ready_to_move(serving: Serving, state: Desired) -> Rollout:
    """The release under way, for a person to move it on: its candidate is warm and has nothing against it.

    Raises
    ------
    UsageError
        It still gets ready, or is to be rolled back.
    """
    rollout = state.rollout
    assert rollout is not None
    if not rollout.warm:
        raise UsageError(f"{rollout.where}", todo="ask again in a moment")
    evidence = EvidenceFile(serving.settings.home).load(rollout, known.limits(serving.project.params, rollout))
    if evidence and (judged := evidence.judge(rollout)).move == "roll_back":
        raise UsageError(
            f"{rollout.version} is to be rolled back: {'; '.join(judged.reasons)}",
            todo="greenlight release --abort ends its release; a release of its own gives it the traffic all the same",
        )
    return rollout


def _move(serving: Serving, name: str) -> Desired:
    with serving.desired.changing(f"a person's {name}"):
        state = _under_way(serving)
        after = steps.pause(state) if name == "pause" else steps.resume(state)
        if after is not state and after.rollout:
            serving.desired.save(after, f"{after.rollout.where} {name}d by a person")
        return after


def _under_way(serving: Serving) -> Desired:
    state = serving.desired.load()
    if state.rollout is None:
        raise none_under_way()
    return state
