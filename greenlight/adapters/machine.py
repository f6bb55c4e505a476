"""The machine: what is installed, how much room there is, what answers. Reads only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)\s*(?:;\s*([^\\]*))?")
PROBE_TIMEOUT_S = 60
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EMPTY = re.compile(r"The path 'remote://\S+' does not exist: \S+")


def run_version(command: list[str]) -> str:
    """First line that a program writes when asked for its version; empty if it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]


def differences(lock: Path) -> tuple[int, list[str], list[str]]:
    """Compare what is installed with a lock file (pip's format, hashes or not).

    Returns
    -------
    tuple
        Number of packages that the lock wants here, those missing, and those of another version, as
        ``name wanted (found)``.
    """
    from packaging.markers import InvalidMarker, Marker
    from packaging.utils import canonicalize_name

    installed = {canonicalize_name(found.name): found.version for found in distributions() if found.name}
    missing, other, wanted = [], [], 0
    for line in lock.read_text(encoding="utf-8").splitlines():
        pin = PINNED.match(line)
        if not pin:
            continue
        name, version, marker = pin.groups()
        try:
            if marker and not Marker(marker.strip()).evaluate():
                continue
        except InvalidMarker:
            continue
        wanted += 1
        found = installed.get(canonicalize_name(name))
        if found is None:
            missing.append(f"{name} {version}")
        elif found != version:
            other.append(f"{name} {version} ({found} is installed)")
    return wanted, missing, other


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds `folder`, or will once it is made."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """`folder`, or its closest parent that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def folder_refuses(folder: Path) -> str:
    """Why nothing can be written to `folder`, which need not exist yet; empty if it can."""
    there = existing(folder)
    if not there.is_dir():
        return f"{there} is a file and no folder"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"this user may not write to {there}"


def remote_answers(checkout: Path, name: str) -> str:
    """Why the DVC remote called `name` can't be listed; empty if it can."""
    command = [sys.executable, "-m", "dvc", "list-url", f"remote://{name}/"]
    try:
        done = subprocess.run(
            command, cwd=checkout, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_TIMEOUT_S} s"
    return "" if done.returncode == 0 else list_refusal(done.stderr)


def list_refusal(said: str) -> str:
    """Why DVC could not list a remote, from what it said; empty for a bucket that is there and holds nothing yet.

    Object stores have no folders, so DVC takes an empty one for a path that does not exist.
    """
    lines = [_COLOUR.sub("", line).strip() for line in said.splitlines()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (errors or [line for line in lines if line] or ["it refuses"])[0 if errors else -1]
    return "" if _EMPTY.fullmatch(reason) else reason.removeprefix("unexpected error - ")
