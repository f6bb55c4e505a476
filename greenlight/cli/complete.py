"""Names for the shell to complete, straight from Git: one short process, nothing else imported."""

from __future__ import annotations

import subprocess


def runs(incomplete: str) -> list[str]:
    """Names of recorded runs, newest first."""
    found = [ref.rsplit("/", 1)[1] for ref in _refs("refs/exps") if ref.count("/") == 4]
    return [name for name in found if name.startswith(incomplete)]


def versions(incomplete: str) -> list[str]:
    """Names of versions, newest first."""
    found = [f"v{ref.rsplit('@v', 1)[1].split('.')[0]}" for ref in _refs("refs/tags/*@v*")]
    return [name for name in found if name.startswith(incomplete)]


def runs_and_versions(incomplete: str) -> list[str]:
    """Both."""
    return versions(incomplete) + runs(incomplete)


def devices(incomplete: str) -> list[str]:
    """What ``--device`` takes."""
    return [name for name in ("auto", "cpu", "cuda") if name.startswith(incomplete)]


def strategies(incomplete: str) -> list[str]:
    """What ``--strategy`` takes."""
    return [name for name in ("full", "shadow", "canary", "ab", "plan") if name.startswith(incomplete)]


def _refs(pattern: str) -> list[str]:
    command = ["git", "for-each-ref", "--sort=-creatordate", "--format=%(refname)", pattern]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=3, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []  # a shell that completes nothing beats one that prints errors
