"""What becomes of a bad version, and of everything that is killed while a release is under way.

``make bench-release``. Each line of the table is a real stack of its own (supervisor, edge, two server processes a
version) with clients that never stop asking, each on a connection that it keeps; v1 serves, v2 is released by shadow,
canary 5, 50, 100 % and full, with steps of a second. Writes ``benchmarks/results/release_faults.json``; exit status 1
if a release ended otherwise than it should, if a user saw an error of a version, or if something that the supervisor
keeps up was not back within `BACK_S`. A supervisor that was killed is left so for three seconds, then `greenlight up`
starts everything anew; what fails before that counts as wrong, how long that takes is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import fault_kit as faults  # noqa: E402
import serving_kit as kit  # noqa: E402
from stack_kit import Stack  # noqa: E402

RESULT = HERE / "results" / "release_faults.json"
BACK_S = 10.0


def main() -> int:
    """Play everything, print the tables, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", help="a line of the tables; may be repeated; writes no file")
    args = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="gl-faults-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        built = kit.project(folder / "built" / "project", 2).home
        played: dict[str, Any] = {}
        print("| version | its release ended | after s | requests | failed | why |\n|---|---|---:|---:|---:|---|")
        for title, fault in faults.FAULTS.items():
            if args.only and title not in args.only:
                continue
            seen = in_stack(folder / "stack", built, lambda up, fault=fault: faults.play(up, fault))
            played[title] = asdict(seen)
            first = seen.said.splitlines()[0][:110] if seen.said else ""
            print(f"| {title} | {seen.ends} | {seen.seconds} | {seen.requests} | {seen.failed} | {first} |", flush=True)
            print(*seen.failures, sep="\n", end="")
            if seen.ends != fault.ends or seen.failed:
                wrong.append(f"{title}: {seen}")
        killed: dict[str, Any] = {}
        print("\n| killed | answered again after s | failed | of | the release ended |\n|---|---:|---:|---:|---|")
        for title in faults.VICTIMS:
            if args.only and title not in args.only:
                continue
            seen = in_stack(folder / "stack", built, lambda up, title=title: faults.kill_during_release(up, title))
            killed[title] = asdict(seen)
            print(f"| {title} | {seen.more['back_s']} | {seen.failed} | {seen.requests} | {seen.ends} | {seen.more}",
                  flush=True)  # fmt: skip
            may = ("promoted", "rolled_back") if title == faults.MAY_ROLL_BACK else ("promoted",)
            lost = seen.more.get("failed_without_it", 0)
            late = seen.more["back_s"] > BACK_S and title != "the supervisor"
            if seen.ends not in may or late or lost:
                wrong.append(f"{title}: {seen}")
    print("\n".join(wrong) or "\neach ended as it should")
    if not args.only:
        document = {"cores": os.cpu_count(), "versions": played, "killed": killed, "wrong": wrong}
        RESULT.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if wrong else 0


def in_stack(folder: Path, built: Path, plays: Callable[[Stack], faults.Seen]) -> faults.Seen:
    """Do it in a stack of its own, with v1 live."""
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as name:
        up = Stack(kit.project(Path(name) / "project", 2, bentos=built))
        try:
            up.up()
            up.release("v1", strategy="full")
            return plays(up)
        finally:
            up.serving.supervisor.stop()


if __name__ == "__main__":
    sys.exit(main())
