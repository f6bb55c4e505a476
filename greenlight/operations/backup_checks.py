"""Whether `origin` and the DVC remote have what is here: three checks of ``greenlight doctor``."""

from __future__ import annotations

from collections.abc import Iterator

from greenlight.adapters import dvc, machine
from greenlight.adapters.git import Repository
from greenlight.config import Settings
from greenlight.operations import backup, label_backup
from greenlight.operations.checks import Check, looked, some
from greenlight.operations.runs import run_commits
from greenlight.wiring import Project, open_project


def examine(settings: Settings) -> Iterator[Check]:
    """The checks; none fails the doctor's report, as everything works without a backup."""
    project = open_project(settings, lenient=True)
    if not run_commits(project.repository) and not project.registry.versions():
        yield Check("backup", "ok", "no run is recorded yet")
        return
    yield from looked("backup: git", lambda _: _git_backup(project.repository), settings, "warn")
    yield from looked("backup: data", lambda _: _data_backup(project), settings, "warn")
    yield from looked("backup: labels", lambda _: label_backup_check(project), settings, "warn")


def _git_backup(repository: Repository) -> Check:
    found = backup.git_backup(repository)
    title = "backup: git"
    if not found.configured:
        todo = f"git remote add {backup.ORIGIN} <address>; {backup.BACKUP}"
        return Check(title, "warn", f"no Git remote {backup.ORIGIN}: runs and versions are on this disk only", todo)
    behind: dict[str, str] = {}
    if found.missing:
        behind[f"lacks {backup.described(found.missing)}"] = f"{backup.BACKUP}, or {backup.PUSH_REFS}"
    if found.different:
        said = f"has {some(list(found.different))} with other content"
        behind[said] = f"git ls-remote {backup.ORIGIN} shows them; which of both is right is for you to say"
    if found.commits:
        behind[f"lacks {found.commits} commits of your branch"] = f"git push {backup.ORIGIN} HEAD"
    if behind:
        return Check(title, "warn", f"{backup.ORIGIN} {', '.join(behind)}", "; ".join(behind.values()))
    return Check(title, "ok", f"{backup.ORIGIN} has every run, tag, mark and commit")


def _data_backup(project: Project) -> Check:
    title = "backup: data"
    name, url = dvc.remote(project.settings.root)
    # A storage's own client may wait for minutes; this asks with a limit.
    if "://" in url and machine.remote_answers(project.settings.root, name):
        return Check(title, "warn", f"not looked at: {url} does not answer", f"dvc list-url remote://{name}/")
    found = backup.data_backup(project)
    if found.lost:
        lost = some([f"{name} ({', '.join(paths)})" for name, paths in found.lost.items()])
        todo = f"look for them on other machines: {backup.BACKUP} there sends them to {found.where}"
        return Check(title, "warn", f"neither the cache nor {found.where} holds all of {lost}", todo)
    if found.missing:
        return Check(title, "warn", f"{found.where} lacks data of {some(list(found.missing))}", backup.BACKUP)
    if found.here:
        todo = f"dvc remote modify local url <folder or address elsewhere>; {backup.BACKUP}"
        return Check(title, "warn", f"{found.where} is on this disk, below Greenlight's own folder", todo)
    return Check(title, "ok", f"{found.where} has the {found.looked_at} objects of the versions and the newest runs")


def label_backup_check(project: Project) -> Check:
    """Whether this machine took labels since its last backup."""
    waiting, title = label_backup.waiting(project), "backup: labels"
    if waiting:
        return Check(title, "warn", f"{waiting} labels came since the last backup from here", backup.BACKUP)
    return Check(title, "ok", "no label came since the last backup from here")
