"""Versions and what served when, as Git tags in GTO's convention.

``<model>@v<N>.0.0`` names version N (GTO takes semantic versions only, so N is the major number), and
``<model>#prod#<K>`` says that the K-th version to take the traffic is the one tagged on that commit. Tags are only ever
added: history grows. Reading uses Git directly, one process for all tags; writing goes through GTO's own checks.

Tags belong to everybody: ``git fetch --prune --prune-tags``, the checkout step of a CI job and ``git tag -d`` delete
them. So each tag's object is also named by ``refs/greenlight/tags/<tag>``, which none of these touches (a fetch that
mirrors all refs with ``--prune`` does); `Registry.mend` puts a deleted tag back from there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from greenlight.adapters import tag_faults
from greenlight.adapters.git import Repository
from greenlight.adapters.tag_faults import Fault
from greenlight.errors import GitError, NotFound

STAGE = "prod"
SIGNATURES = "refs/greenlight/signatures/"
TAGS, KEPT = "refs/tags/", "refs/greenlight/tags/"
WHO = {"NAME": "Greenlight", "EMAIL": "greenlight@localhost"}
_VERSION = re.compile(r"^v?(\d+)$")


@dataclass(frozen=True)
class Version:
    """A candidate that the gates let through.

    Attributes
    ----------
    name : str
        ``v1``, ``v2``, ...
    number : int
    commit : str
        The run's commit.
    run : str
        The run's name.
    created : datetime
        When it was registered, UTC.
    """

    name: str
    number: int
    commit: str
    run: str
    created: datetime


@dataclass(frozen=True)
class Assignment:
    """One line of the release ledger: from `created` on, `version` served."""

    version: str
    number: int
    created: datetime


class Registry:
    """Versions of one model.

    Parameters
    ----------
    repository : Repository
        The user's checkout.
    model : str
        The model's name; Greenlight uses the dataset's.
    """

    def __init__(self, repository: Repository, model: str) -> None:
        self.repository = repository
        self.model = model

    def faults(self) -> list[Fault]:
        """Tags that somebody moved or deleted by hand; what they name is served and compared by nothing."""
        return tag_faults.find(self.repository, self.model, STAGE)

    def lost(self) -> dict[str, str]:
        """Tags of this model that something deleted and whose copy is kept: name of the tag, object."""
        tags = self._named(TAGS)
        return {name: sha for name, sha in self._named(KEPT).items() if name not in tags}

    def mend(self) -> list[str]:
        """Put deleted tags back from their copies, and copy each tag that has none yet.

        A tag that contradicts itself is not copied; see `faults`.

        Returns
        -------
        list of str
            Names of the tags that were put back.
        """
        lost = self.lost()
        if lost:  # without an old value: two processes that do this at once write the same
            self.repository.change_refs(f"update {TAGS}{name} {sha}" for name, sha in lost.items())
        self._keep()
        return sorted(lost)

    def _keep(self) -> None:
        kept, tags = self._named(KEPT), self._named(TAGS)
        new = tags.keys() - kept.keys()
        if new:
            wrong = {fault.tag for fault in self.faults()}
            self.repository.change_refs(f"update {KEPT}{name} {tags[name]}" for name in sorted(new - wrong))

    def _named(self, space: str) -> dict[str, str]:
        """Objects of this model's tags, or of their copies, by the tag's name."""
        listing = self.repository.run(
            "for-each-ref",
            "--format=%(refname) %(objectname)",
            f"{space}{self.model}@v*",
            f"{space}{self.model}#{STAGE}#*",
        )
        rows = (line.split(" ", 1) for line in listing.splitlines())
        return {ref.removeprefix(space): sha for ref, sha in rows}

    def bring_back(self, name: str, commit: str, run: str, signature: str) -> None:
        """Tag a version anew from what its bento says, where neither the tag nor its copy is there any more.

        Parameters
        ----------
        name : str
            The version, such as ``v2``.
        commit : str
            The run's commit.
        run : str
            The run's name.
        signature : str
            The bundle that the bento carries; empty where it carries none.

        Raises
        ------
        GitError
            The commit is not there.
        """
        date = f"@{self.repository.run('log', '-1', '--format=%ct', commit)} +0000"
        who = {f"GIT_COMMITTER_{key}": value for key, value in (WHO | {"DATE": date}).items()}
        self.repository.run(
            *("tag", "--annotate", "--no-sign", "--cleanup=verbatim", "--file=-"),
            *(f"{self.model}@{name}.0.0", commit),
            stdin=f"run {run}\n\n{signature}".rstrip().encode() + b"\n",
            env=who,
        )
        self._keep()

    def versions(self) -> list[Version]:
        """All versions, oldest first; those whose tag was moved stand where it was moved to (see `faults`)."""
        found = []
        for tag, commit, when, message in self.repository.tags(f"{self.model}@v*"):
            number = int(tag.rsplit("@v", 1)[1].split(".")[0])
            created = datetime.fromtimestamp(when, UTC)
            found.append(Version(f"v{number}", number, commit, message.removeprefix("run "), created))
        return sorted(found, key=lambda version: version.number)

    def get(self, name: str) -> Version:
        """The version called `name` (``v2`` or ``2``).

        Raises
        ------
        NotFound
            There is none; the message lists those that exist.
        GitError
            Its tag was moved or deleted by hand.
        """
        match = _VERSION.match(name)
        self._refuse(fault for fault in self.faults() if match and fault.version == f"v{int(match[1])}")
        versions = self.versions()
        for version in versions:
            if match and version.number == int(match[1]):
                return version
        known = ", ".join(v.name for v in versions[-10:]) or "none yet"
        raise NotFound(f"no version {name} of {self.model}; there is {known}", todo="greenlight runs lists them")

    def at(self, commit: str) -> Version | None:
        """The version registered on a run's commit, or None; one whose tag was moved there does not count."""
        moved = {fault.version for fault in self.faults()}
        return next((v for v in self.versions() if v.commit == commit and v.name not in moved), None)

    def register(self, commit: str, run: str, signature: str = "") -> Version:
        """Give the run's commit the next version number; the same commit keeps the number it has.

        The signature is the body of the tag's message, so version and signature come into being in one step.
        """
        existing = self.at(commit)
        if existing:
            return existing
        message = f"run {run}\n\n{signature}".rstrip()
        while True:
            faults = [fault for fault in self.faults() if fault.version]
            self._refuse(fault for fault in faults if fault.commit == commit)
            number = self._last_number(faults) + 1
            try:
                self._gto("register", self.model, commit, "--version", f"v{number}.0.0", "--message", message)
            except GitError:
                self._refuse(faults)  # GTO will have none while two versions stand on one commit
                if self._last_number(faults) < number:
                    raise
                continue  # somebody else took the number meanwhile
            self._keep()
            return self.get(f"v{number}")

    def _last_number(self, faults: Iterable[Fault]) -> int:
        """The highest number of all tags, also of those that cannot be believed or are gone: it is given once."""
        taken = [tag for tag in {**self._named(TAGS), **self._named(KEPT)} if "@v" in tag]
        numbers = [int(tag.rsplit("@v", 1)[1].split(".")[0]) for tag in taken]
        return max(numbers + [int(fault.version[1:]) for fault in faults], default=0)

    def signature(self, version: Version) -> str:
        """The version's signature: one made later where there is one, else what came with the tag; else empty."""
        later = self.repository.read_many([self._later(version)])[0]
        if later is not None:
            return later.decode("utf-8", "replace").strip()
        tag = f"refs/tags/{self.model}@v{version.number}.0.0"
        return self.repository.run("for-each-ref", "--format=%(contents:body)", tag).strip()

    def sign_again(self, version: Version, signature: str) -> None:
        """Put another signature before the one in the tag, which stays as it is."""
        blob = self.repository.run("hash-object", "-w", "--stdin", stdin=signature.encode())
        self.repository.run("update-ref", self._later(version), blob)

    def _later(self, version: Version) -> str:
        return f"{SIGNATURES}{self.model}@v{version.number}.0.0"

    def assign(self, version: Version) -> None:
        """Write into the ledger that `version` serves from now on; nothing to do if it is the newest entry."""
        history = self.history(strict=False)
        if history and history[-1].version == version.name:
            return
        self._gto(
            *("assign", self.model, version.commit, "--stage", STAGE, "--message", f"{version.name} serves"),
            *("--simple", "false", "--force", "--skip-registration"),
        )
        self._keep()

    def champion(self) -> Version | None:
        """The version that serves, by the ledger; None before the first release.

        Raises
        ------
        GitError
            A tag of the ledger, or of the version, was moved or deleted by hand.
        """
        history = self.history()
        return self.get(history[-1].version) if history else None

    def history(self, *, strict: bool = True) -> list[Assignment]:
        """What served when, oldest first.

        Parameters
        ----------
        strict : bool
            False for what only shows it, or must work in an emergency: a tag that was moved counts as it stands.

        Raises
        ------
        GitError
            A tag of the ledger was moved or deleted by hand.
        """
        if strict:
            self._refuse(fault for fault in self.faults() if "#" in fault.tag)
        by_commit = {version.commit: version for version in self.versions()}
        rows = []
        for tag, commit, when, message in self.repository.tags(f"{self.model}#{STAGE}#*"):
            # By its words first: a version whose own tag was moved away still served.
            said = tag_faults.SERVES.match(message)
            version = said[1] if said else by_commit[commit].name if commit in by_commit else ""
            if version:
                number = int(tag.rsplit("#", 1)[1])
                rows.append(Assignment(version, number, datetime.fromtimestamp(when, UTC)))
        return sorted(rows, key=lambda row: row.number)

    def _refuse(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            raise GitError(fault.what, where="git tags", todo=fault.todo)

    def _gto(self, *args: str) -> None:
        """Run GTO's command line: importing it in a flow resets Python's logging and with it Prefect's log handlers."""
        command = [str(Path(sys.executable).with_name("gto")), *args, "--repo", str(self.repository.root)]
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in WHO.items()}
        env = os.environ | who | {"ITERATIVE_DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise GitError(
                f"could not {args[0]} {self.model}: {said}", where="git tags", todo="git tag -l shows what is there"
            )
