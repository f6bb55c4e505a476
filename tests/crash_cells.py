"""The cells of the crash matrix: who is killed, where, and which kills can follow each other in one repository."""

from __future__ import annotations

from collections.abc import Sequence

STAGES = ("snapshot", "validate", "featurize", "train", "evaluate", "gate")
AFTER_STAGES = (
    *("after push", "after save", "after record", "after tag", "in build", "after build", "in preflight"),
    *("before switch", "in switch", "after switch", "before drain", "after release"),
)
IN_STAGES = tuple(f"in {stage}" for stage in STAGES)
BETWEEN = tuple(f"after {stage}" for stage in STAGES)
BOUNDARIES = ("before snapshot", *(x for pair in zip(IN_STAGES, BETWEEN, strict=True) for x in pair), *AFTER_STAGES)
SOME = ("in train", "after push", "after tag", "in switch", "before drain")
CELLS = {"flow": BOUNDARIES, "stage": IN_STAGES, "server": SOME, "tree": SOME}
SWITCHED = ("in switch", "after switch", "before drain", "after release")
# Nothing of these brings v2 to the traffic, so the next run comes as far again.
CHAINS: dict[str, tuple[Sequence[str], ...]] = {
    "flow": (BOUNDARIES[:7], BOUNDARIES[7:13], AFTER_STAGES[:3], AFTER_STAGES[3:6], AFTER_STAGES[6:9]),
    "stage": (IN_STAGES,),
    "server": (),  # a run may well outlive its server, and then v2 serves
    "tree": (SOME[:3],),
}
Group = tuple[str, Sequence[str]]


def select(victims: Sequence[str], at: Sequence[str] | None = None, *, chain: bool = False) -> list[Group]:
    """The cells asked for, each alone or in chains: what a kill leaves is then what the next one meets."""
    groups: list[Group] = []
    for victim in victims:
        wanted = [boundary for boundary in CELLS[victim] if not at or boundary in at]
        together = [[b for b in boundaries if b in wanted] for boundaries in CHAINS[victim]] if chain else []
        alone = [[b] for b in wanted if not any(b in boundaries for boundaries in together)]
        groups += [(victim, boundaries) for boundaries in [*together, *alone] if boundaries]
    return groups
