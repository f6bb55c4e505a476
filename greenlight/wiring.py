"""The one place that decides which adapters are used: settings in, a project's adapters out."""

from __future__ import annotations

from dataclasses import dataclass

from greenlight.adapters.git import Repository
from greenlight.adapters.registry import Registry
from greenlight.config import Params, Settings


@dataclass(frozen=True)
class Project:
    """A checkout with its parameters, its Git repository and its registry of versions."""

    settings: Settings
    params: Params
    repository: Repository
    registry: Registry


def open_project(settings: Settings | None = None) -> Project:
    """Read settings and params.yaml and build the adapters.

    Raises
    ------
    ConfigError
        A setting or a parameter is wrong.
    UsageError
        The folder is no Git repository.
    """
    settings = settings or Settings.load()
    params = Params.load(settings.params_file)
    repository = Repository(settings.root)
    repository.require()
    return Project(settings, params, repository, Registry(repository, params.dataset))
