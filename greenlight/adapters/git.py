"""Git: commits, refs and tags of the repository, and the clones that runs work in."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from greenlight.errors import GitError, UsageError, disk_fault

SAID_LINES = 3
SSH = "ssh -o BatchMode=yes -o ConnectTimeout=5"
LOCK_WAIT_S = 3.0  # another git holds a lock for milliseconds; one that was killed holds it for ever
FULL = "Out of diskspace"  # Git's own words for it where it writes its index
LOCKED = re.compile(rb"Unable to create '([^']+\.lock)': File exists")


class Repository:
    """A Git checkout.

    Parameters
    ----------
    root : Path
        The checkout's top folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(
        self, *args: str, stdin: bytes | None = None, check: bool = True, env: Mapping[str, str] | None = None
    ) -> str:
        """Run ``git <args>`` in the checkout and return its output without the last line break.

        Raises
        ------
        GitError
            Git is missing, or ended with another status than 0 and `check` is true.
        """
        return self._git(args, stdin, check, env).decode("utf-8", "replace").rstrip("\n")

    def _git(
        self, args: Sequence[str], stdin: bytes | None, check: bool, more: Mapping[str, str] | None = None
    ) -> bytes:
        command = ["git", "-c", "core.hooksPath=/dev/null", *args]
        env = os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"} | dict(more or {})
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                done = subprocess.run(command, cwd=self.root, input=stdin, capture_output=True, env=env, check=False)
            except FileNotFoundError as exc:
                missing = "git" if self.root.exists() else f"the folder {self.root}"
                raise GitError(f"{missing} is not there", where=str(self.root), todo="install git") from exc
            locked = LOCKED.search(done.stderr) if check and done.returncode else None
            if not locked:
                break
            if time.monotonic() >= until:
                lock = locked[1].decode("utf-8", "replace")
                raise GitError(
                    f"git {args[0]} failed: {Path(lock).name} is there, and was for {LOCK_WAIT_S:g} s",
                    where=lock,
                    todo=f"if no git works there (a killed one leaves it): rm '{lock}', then run again",
                )
            time.sleep(0.1)
        if check and done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"]
            # On a full disk it has a line for every file; the last one says what it was.
            said = said if len(said) <= SAID_LINES else ["...", *said[-SAID_LINES:]]
            words = done.stderr.decode("utf-8", "replace").replace(FULL, os.strerror(errno.ENOSPC))
            full = disk_fault(OSError(words))
            raise GitError(
                f"git {args[0]} failed: {f'{full.what}: ' if full else ''}" + "\n".join(said),
                where=str(self.root),
                todo=full.todo if full else "",
            )
        return done.stdout

    def require(self) -> None:
        """Make sure that this is a Git checkout with at least one commit.

        Raises
        ------
        UsageError
            It is not; the message says how to make one.
        """
        inside = self.run("rev-parse", "--show-toplevel", check=False)
        if not inside or Path(inside).resolve() != self.root.resolve():
            raise UsageError(
                "not the top of a Git repository: a run is a commit, so without Git nothing can be reproduced",
                where=str(self.root),
                todo="git init && git add . && git commit -m 'Start', or go to the repository",
            )
        if not self.run("rev-parse", "--verify", "--quiet", "HEAD", check=False):
            raise UsageError(
                "the repository has no commit yet", where=str(self.root), todo="git add . && git commit -m 'Start'"
            )

    def head(self) -> str:
        """Full hash of the commit checked out."""
        return self.run("rev-parse", "HEAD")

    def resolve(self, name: str) -> str | None:
        """Full hash of the commit that `name` points at, or None."""
        return self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False) or None

    def changes(self) -> bytes:
        """Uncommitted changes of tracked files, as a binary patch against HEAD; empty when there are none."""
        # Prefixes and renames by name: a user's diff.noprefix or diff.mnemonicPrefix would make a patch that fails.
        form = ["--binary", "--no-ext-diff", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"]
        return self._git(["diff", *form, "HEAD"], None, True)

    def untracked(self) -> list[str]:
        """Files that Git neither tracks nor ignores."""
        listing = self.run("ls-files", "--others", "--exclude-standard", "-z")
        return [name for name in listing.split("\0") if name]

    def clone(self, target: Path, commit: str) -> Repository:
        """Clone into `target` at `commit`, sharing this repository's objects; the user's checkout is not touched.

        Raises
        ------
        GitError
            The target exists and is not empty, or the commit is not there.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        self.run("clone", "--quiet", "--shared", "--no-checkout", "--no-tags", str(self.root), str(target))
        clone = Repository(target)
        clone.run("checkout", "--quiet", "--detach", commit)
        for key, value in (("user.name", "Greenlight"), ("user.email", "greenlight@localhost")):
            clone.run("config", key, value)
        clone.run("config", "gc.auto", "0")
        return clone

    def apply(self, patch: bytes) -> None:
        """Apply a patch made by :meth:`changes` to the working tree and the index.

        The index too, or a file that is new in it would stay untracked and be left out of the next commit.
        """
        if patch:
            self._git(["apply", "--index", "--binary", "--whitespace=nowarn", "-"], patch, True)

    def refs(self, prefix: str) -> dict[str, str]:
        """Commit of each ref below `prefix`: ``{"refs/exps/ab/cd…/name": sha}``."""
        listing = self.run("for-each-ref", "--format=%(refname) %(objectname)", prefix)
        return dict(line.split(" ", 1) for line in listing.splitlines())

    def tags(self, pattern: str) -> list[tuple[str, str, int, str]]:
        """Annotated tags that match: name, commit, seconds since 1970 of the tag, first line of the message.

        Newest last.
        """
        form = "%(refname:short)%00%(*objectname)%00%(taggerdate:unix)%00%(contents:subject)"
        listing = self.run("for-each-ref", f"--format={form}", f"refs/tags/{pattern}")
        rows = [line.split("\0") for line in listing.splitlines()]
        found = [(name, commit, int(when), subject) for name, commit, when, subject in rows if commit]
        return sorted(found, key=lambda row: row[2])

    def latest(self, prefix: str) -> int:
        """Date of the newest commit that a ref below `prefix` names, seconds since 1970; 0 where there is none."""
        form = ["--sort=-committerdate", "--count=1", "--format=%(committerdate:unix)"]
        return int(self.run("for-each-ref", *form, prefix) or 0)

    def snapshot(self, files: Sequence[str], message: str, date: int) -> str:
        """A commit on top of HEAD with every tracked file as it is now, and `files` though Git ignores them.

        No branch moves, and no hook of the user's runs.

        Parameters
        ----------
        date : int
            Of the commit, seconds since 1970.
        """
        self.run("add", "--update")
        self.run("add", "--force", "--", *files)
        tree = self.run("write-tree")
        return self.run("commit-tree", tree, "-p", "HEAD", "-m", message, env=_dated(date))

    def push_ref(self, ref: str, commit: str) -> None:
        """Have `ref` name `commit`, made on top of HEAD, in the repository that this one was cloned from.

        Not by ``git push``: both sides of it look at every ref, and there is one for every run.

        Raises
        ------
        GitError
            The ref is there already with other content, or the disk is full. An object without a ref harms nobody.
        """
        origin = Repository(Path(self.run("config", "remote.origin.url")))
        made = self._git(["pack-objects", "--quiet", "--revs", "--stdout"], f"{commit}\n^HEAD\n".encode(), True)
        origin._git(["unpack-objects", "-q"], made, True)
        if origin.resolve(ref) != commit:
            origin.run("update-ref", ref, commit, "0" * len(commit))

    def remote_refs(self, remote: str, timeout_s: float) -> dict[str, str]:
        """Refs of a remote repository with what they point at; asks nobody for a password.

        Raises
        ------
        GitError
            It does not answer in time, or refuses.
        """
        env = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", SSH)}
        todo = f"check its address and your rights: git ls-remote {remote}"
        try:
            done = subprocess.run(
                ["git", "ls-remote", "--quiet", remote],
                cwd=self.root,
                env=env | {"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise GitError(f"no answer within {timeout_s:g} s", where=remote, todo=todo) from None
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
            raise GitError(f"it does not answer: {said}", where=remote, todo=todo)
        rows = (line.split("\t", 1) for line in done.stdout.splitlines())
        return {ref: sha for sha, ref in rows if not ref.endswith("^{}")}

    def known(self, objects: Iterable[str]) -> list[str]:
        """Those of `objects` that this repository has."""
        wanted = "".join(f"{name}\n" for name in dict.fromkeys(objects)).encode()
        rows = self.run("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=wanted).splitlines()
        return [row.split(" ")[0] for row in rows if not row.endswith(" missing")]

    def newest(self, commits: Iterable[str]) -> list[str]:
        """`commits` by their date, newest first."""
        wanted = "".join(f"{name}\n" for name in dict.fromkeys(commits)).encode()
        if not wanted:
            return []
        listing = self.run("log", "--no-walk=sorted", "--format=%H", "--stdin", stdin=wanted)
        return listing.splitlines()

    def change_refs(self, commands: Iterable[str]) -> None:
        """Apply lines of ``git update-ref --stdin`` all at once or not at all."""
        lines = ["start", *commands, "prepare", "commit"]
        self.run("update-ref", "--stdin", stdin="".join(f"{line}\n" for line in lines).encode())

    def read_many(self, names: Iterable[str]) -> list[bytes | None]:
        """Contents of objects such as ``<commit>:path/file``, None where there is none; one process for all."""
        wanted = list(names)
        if not wanted:
            return []
        out = self._git(["cat-file", "--batch"], "".join(f"{n}\n" for n in wanted).encode(), True)
        return list(_batches(out, len(wanted)))

    def read(self, commit: str, path: str) -> bytes | None:
        """Content of a file at a commit, or None."""
        return self.read_many([f"{commit}:{path}"])[0]

    def archive(self, commit: str, folder: str) -> bytes:
        """A tar of one folder as of a commit."""
        return self._git(["archive", "--format=tar", commit, folder], None, True)


def _dated(seconds: int) -> dict[str, str]:
    return {f"GIT_{who}_DATE": f"@{seconds} +0000" for who in ("AUTHOR", "COMMITTER")}


def _batches(out: bytes, count: int) -> Iterable[bytes | None]:
    position = 0
    for _ in range(count):
        end = out.index(b"\n", position)
        head = out[position:end].rsplit(b" ", 2)
        position = end + 1
        if head[-1] == b"missing" or not head[-1].isdigit():
            yield None
            continue
        size = int(head[-1])
        yield out[position : position + size]
        position += size + 1
