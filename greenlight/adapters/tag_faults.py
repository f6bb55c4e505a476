"""Tags of versions and of the ledger that are not as Greenlight left them: moved or deleted by hand.

A version's tag names its run in its message, and a run's commit names the run in its own; the two agree unless somebody
moved the tag. Everything is read in two Git processes, whatever the number of tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from greenlight.adapters.git import Repository

RUN = re.compile(r"^run (\S+)")
SERVES = re.compile(r"^(v\d+) serves$")
FORM = "%(refname:short)%00%(objectname)%00%(*objectname)%00%(contents:subject)%00%(*subject)"


@dataclass(frozen=True)
class Fault:
    """One tag that cannot be believed.

    Attributes
    ----------
    tag : str
    version : str
        The version it is about; empty where that cannot be told.
    commit : str
        Where it stands; empty where it is gone.
    what : str
        What is wrong, in one sentence.
    todo : str
        The command that puts it back, as far as it can be known.
    """

    tag: str
    version: str
    commit: str
    what: str
    todo: str


@dataclass(frozen=True)
class _Tag:
    name: str
    commit: str
    annotated: bool
    said: str
    recorded: str


def find(repository: Repository, model: str, stage: str) -> list[Fault]:
    """Every fault of a model's tags, versions first."""
    versions = _read(repository, f"{model}@v*")
    ledger = sorted(_read(repository, f"{model}#{stage}#*"), key=lambda tag: _last_number(tag.name))
    if not versions and not ledger:
        return []
    runs = {ref.rsplit("/", 1)[1]: sha for ref, sha in repository.refs("refs/exps/").items() if ref.count("/") == 4}
    found = _of_versions(versions, runs, ledger)
    bad = {fault.version for fault in found}
    named = {tag.commit: _version(tag.name) for tag in versions}
    found += _gone(model, named, ledger)
    bad |= {fault.version for fault in found}
    found += [fault for tag in ledger for fault in _of_ledger(tag, named, bad)]
    return found + _gaps(model, stage, [_last_number(tag.name) for tag in ledger])


def _read(repository: Repository, pattern: str) -> list[_Tag]:
    found = []
    for line in repository.run("for-each-ref", f"--format={FORM}", f"refs/tags/{pattern}").splitlines():
        name, sha, commit, message, subject = line.split("\0")
        said, recorded = (message, subject) if commit else ("", message)
        match = RUN.match(recorded) if ": " in recorded else None
        found.append(_Tag(name, commit or sha, bool(commit), said, match[1].rstrip(":") if match else ""))
    return found


def _of_versions(versions: Sequence[_Tag], runs: dict[str, str], ledger: Sequence[_Tag]) -> list[Fault]:
    wrong = {tag.name: what for tag in versions if (what := _contradiction(tag, runs))}
    for tag in versions:
        twins = [o.name for o in versions if o.commit == tag.commit and o.name != tag.name and o.name not in wrong]
        blamed = _served_as(tag, ledger) or not any(_served_as(o, ledger) for o in versions if o.name in twins)
        if twins and tag.name not in wrong and blamed:
            wrong[tag.name] = f"{_stands(tag)}, and so does {', '.join(twins)}: somebody moved one of them"
    return [_fault(tag, wrong[tag.name], runs, ledger) for tag in versions if tag.name in wrong]


def _contradiction(tag: _Tag, runs: dict[str, str]) -> str:
    """Why a version's tag contradicts itself; empty where it does not."""
    if not tag.annotated:
        return f"carries no word of its run, so somebody moved it; it {_stands(tag)}"
    run = _run(tag)
    if (tag.recorded and run != tag.recorded) or (not tag.recorded and runs.get(run, tag.commit) != tag.commit):
        return f"names run {run or 'none'} and {_stands(tag)}, so somebody moved it"
    return ""


def _fault(tag: _Tag, what: str, runs: dict[str, str], ledger: Sequence[_Tag]) -> Fault:
    own = runs.get(_run(tag), "")
    commit = _served_as(tag, ledger) or (own if own != tag.commit else "")
    run = next((name for name, sha in runs.items() if sha == commit), _run(tag))
    return Fault(
        tag.name,
        _version(tag.name),
        tag.commit,
        f"the tag {tag.name} {what}",
        _put_back(tag.name, commit, f"run {run}"),
    )


def _served_as(tag: _Tag, ledger: Sequence[_Tag]) -> str:
    """The one other commit that the ledger says this version served as; empty where it says none or several."""
    commits = {row.commit for row in ledger if row.said == f"{_version(tag.name)} serves"} - {tag.commit}
    return commits.pop() if len(commits) == 1 else ""


def _run(tag: _Tag) -> str:
    match = RUN.match(tag.said)
    return match[1] if match else ""


def _stands(tag: _Tag) -> str:
    return f"stands on {f'run {tag.recorded}' if tag.recorded else f'{tag.commit[:10]}, which is no run'}"


def _gone(model: str, named: dict[str, str], ledger: Sequence[_Tag]) -> Iterator[Fault]:
    """Versions that the ledger says served, and that have no tag any more."""
    known = set(named.values())
    lost = {match[1]: row for row in ledger if (match := SERVES.match(row.said)) and match[1] not in known}
    for version, row in lost.items():
        tag = f"{model}@{version}.0.0"
        todo = _put_back(tag, row.commit, f"run {row.recorded}")
        yield Fault(tag, version, "", f"the tag {tag} is gone, and {row.name} says that {version} served", todo)


def _of_ledger(tag: _Tag, named: dict[str, str], bad: set[str]) -> Iterator[Fault]:
    match = SERVES.match(tag.said)
    said, stands = match[1] if match else "", named.get(tag.commit, "")
    if said in bad or (tag.annotated and stands and said in ("", stands)):
        return
    commit = next((sha for sha, version in named.items() if version == said), "")
    on = stands or f"{tag.commit[:10]}, which is no version"
    what = f"the tag {tag.name} says {said or 'nothing of what'} serves and stands on {on}, so somebody moved it"
    yield Fault(tag.name, "", tag.commit, what, _put_back(tag.name, commit, f"{said} serves"))


def _gaps(model: str, stage: str, numbers: Sequence[int]) -> list[Fault]:
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    return [
        Fault(name, "", "", f"the tag {name} is gone: the ledger of what served has a gap", _put_back(name, "", ""))
        for name in (f"{model}#{stage}#{number}" for number in missing)
    ]


def _put_back(tag: str, commit: str | None, message: str) -> str:
    fetch = f"git fetch --force origin 'refs/tags/{tag}:refs/tags/{tag}' if the origin has it as it was"
    # A version's signature travels in its tag's message; one written by hand has none.
    sign = f" (then greenlight sign {_version(tag)})" if "@v" in tag else ""
    return f"{fetch}, else git tag -f -a '{tag}' {commit} -m '{message}'{sign}" if commit else f"{fetch}, else a backup"


def _version(tag: str) -> str:
    return "v" + tag.rsplit("@v", 1)[1].split(".")[0]


def _last_number(tag: str) -> int:
    number = tag.rsplit("#", 1)[1]
    return int(number) if number.isdigit() else 0
