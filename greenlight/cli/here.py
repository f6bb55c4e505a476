"""The settings of the repository that a command is called in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenlight.config import Settings


def here() -> Settings:
    """The settings, inside a repository; elsewhere even what forgives a broken params.yaml has nothing to go by.

    Raises
    ------
    ConfigError
        A setting is wrong, or this is no repository of Greenlight's.
    """
    from greenlight.config import Settings, require_repository

    settings = Settings.load()
    require_repository(settings.root)
    return settings
