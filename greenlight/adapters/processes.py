"""Processes of this machine: who listens on a port, which ones a dead supervisor left, how to end them.

Only ever ends what carries this stack's mark in its environment; strangers are named, never touched.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

# In the environment of everything that the supervisor starts. No GREENLIGHT_ prefix: it is no setting.
MARK = "GL_STACK"


@dataclass(frozen=True)
class Holder:
    """Who listens on a port.

    Attributes
    ----------
    pid : int
        0 if the process belongs to another user.
    name : str
        Its command, shortened.
    """

    pid: int
    name: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})" if self.pid else "a process of another user"


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host`:`port` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def port_holder(port: int) -> Holder:
    """Who listens on `port`."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return Holder(0, "")
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN and connection.laddr
        if listening and connection.laddr.port == port and connection.pid:
            try:
                command = " ".join(psutil.Process(connection.pid).cmdline())[:80]
            except psutil.Error:
                command = "ended meanwhile"
            return Holder(connection.pid, command)
    return Holder(0, "")


def marked(home: Path) -> list[psutil.Process]:
    """The topmost processes of the stack of `home`; their children are not listed.

    This process and those above it are left out: a flow of the stack may be the one that asks.
    """
    mine = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = {p.pid: p for p in psutil.process_iter() if _mark_of(p) == str(home)}
    return [p for pid, p in found.items() if pid not in mine and _parent(p) not in found]


def marked_pids(home: Path) -> set[int]:
    """All processes of the stack of `home`."""
    return {p.pid for p in psutil.process_iter() if _mark_of(p) == str(home)}


def end(processes: Iterable[psutil.Process], grace_s: float) -> int:
    """End `processes` and their children: first asked, after `grace_s` killed. Returns how many there were."""
    roots = list(processes)
    tree = {p.pid: p for root in roots for p in _with_children(root)}
    for process in roots:
        _quietly(process.terminate)
    _, alive = psutil.wait_procs(list(tree.values()), timeout=grace_s)
    for process in alive:
        _quietly(process.kill)
    psutil.wait_procs(alive, timeout=5)
    return len(tree)


def carries_mark(pid: int, home: Path) -> bool:
    """Whether `pid` runs and belongs to the stack of `home`."""
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return False
    return is_alive(pid) and _mark_of(process) == str(home)


def is_alive(pid: int) -> bool:
    """Whether `pid` runs and is no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def began(pid: int) -> float:
    """When `pid` started, seconds since 1970; 0 if it does not run."""
    try:
        return float(psutil.Process(pid).create_time()) if is_alive(pid) else 0.0
    except psutil.Error:
        return 0.0


def is_same(pid: int, since: float) -> bool:
    """Whether `pid` is still the process that started at `since`: numbers are used again, above all after a reboot."""
    return since > 0 and abs(began(pid) - since) < 1.0


def memory_mb(pid: int) -> float:
    """Resident memory of `pid` and its children, MiB (2**20 bytes).

    Raises
    ------
    ProcessLookupError
        It does not run.
    """
    try:
        return float(sum(p.memory_info().rss for p in _with_children(psutil.Process(pid)))) / 2**20
    except psutil.NoSuchProcess as exc:
        raise ProcessLookupError(pid) from exc


def _mark_of(process: psutil.Process) -> str:
    try:
        if process.uids().real != os.getuid():
            return ""
        return str(process.environ().get(MARK, ""))
    except (psutil.Error, OSError):
        return ""


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


def _with_children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return
