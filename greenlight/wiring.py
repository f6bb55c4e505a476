"""The one place that decides which adapters are used: settings in, a project's adapters out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from greenlight.adapters.desired import DesiredState
from greenlight.adapters.git import Repository
from greenlight.adapters.registry import Registry
from greenlight.config import Params, Settings
from greenlight.errors import ConfigError

DATASET = re.compile(r"^dataset:\s*[\"']?([a-z][a-z0-9_]*)", re.MULTILINE)


@dataclass(frozen=True)
class Project:
    """A checkout with its parameters, its Git repository and its registry of versions."""

    settings: Settings
    params: Params
    repository: Repository
    registry: Registry


def open_project(settings: Settings | None = None, *, lenient: bool = False) -> Project:
    """Read settings and params.yaml and build the adapters.

    Parameters
    ----------
    lenient : bool
        For what must work in an emergency (look at what serves, roll it back): when params.yaml has mistakes, take the
        one that the live version's run was executed with, and say so in the log.

    Raises
    ------
    ConfigError
        A setting or a parameter is wrong, and `lenient` finds nothing that could stand in for it.
    UsageError
        The folder is no Git repository.
    """
    settings = settings or Settings.load()
    repository = Repository(settings.root)
    try:
        params = Params.load(settings.params_file)
    except ConfigError as exc:
        if not lenient:
            raise
        repository.require()
        params = _stand_in(settings, repository, exc)
    else:
        repository.require()
    return Project(settings, params, repository, Registry(repository, params.dataset))


def _stand_in(settings: Settings, repository: Repository, mistakes: ConfigError) -> Params:
    """The newest recorded parameters that hold: those of what serves, else of the newest version, else of HEAD."""
    for whose, commit in _recorded(settings, repository):
        try:
            raw = yaml.safe_load(repository.read(commit, "params.yaml") or b"")
            params = Params.check(raw, where=f"params.yaml at {commit[:10]}")
        except (yaml.YAMLError, ConfigError):
            continue
        said = mistakes.what.splitlines()[0]
        logging.getLogger("greenlight").warning(
            "params.yaml cannot be used (%s); going by that of %s (%s)", said, whose, commit[:10]
        )
        return params
    raise mistakes


def _recorded(settings: Settings, repository: Repository) -> Iterator[tuple[str, str]]:
    """Commits whose parameters may stand in, best first, each with whose they are."""
    model = _model(settings, repository)
    if model:
        registry = Registry(repository, model)
        versions = registry.versions()
        live = DesiredState(settings.home).load().live or next(
            (e.version for e in registry.history(strict=False)[::-1]), ""
        )
        for version in sorted(versions, key=lambda v: (v.name == live, v.number), reverse=True):
            yield f"{version.name}, run {version.run}", version.commit
    yield "the last commit", repository.head()


def _model(settings: Settings, repository: Repository) -> str:
    """The model's name: what params.yaml seems to say if there are versions of it, else the only one with versions."""
    known = {tag.rsplit("@v", 1)[0] for tag, *_ in repository.tags("*@v*")}
    try:
        said = DATASET.search(settings.params_file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        said = None
    if said and said[1] in known:
        return said[1]
    return known.pop() if len(known) == 1 else ""
