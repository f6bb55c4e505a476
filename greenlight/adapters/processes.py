"""Processes of this machine: who listens on a port, which ones a dead supervisor left, how to end them.

Only ever ends what carries this stack's mark in its environment; strangers are named, never touched.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

# In the environment of everything that the supervisor starts. No GREENLIGHT_ prefix: it is no setting.
MARK = "GL_STACK"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux; another one after every start of the machine
ANY_ADDRESS = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Holder:
    """Who listens on a port.

    Attributes
    ----------
    pid : int
        0 if the process belongs to another user.
    name : str
        Its command, shortened.
    address : str
        The IP address that it listens on.
    """

    pid: int
    name: str
    address: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})" if self.pid else "a process of another user"


def bind_error(host: str, port: int) -> OSError | None:
    """Why a server could not listen on `host`:`port` now; None if it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as exc:
        return exc
    return None


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host`:`port` now."""
    return bind_error(host, port) is None


def port_holders(port: int, host: str = "") -> list[Holder]:
    """Who listens on `port` in the way of a server on `host`; without `host`, on any address."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return []
    found = []
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or connection.laddr.port != port:
            continue
        address = str(connection.laddr.ip)
        if host in ANY_ADDRESS or address in (host, *ANY_ADDRESS):
            found.append(Holder(connection.pid or 0, _command(connection.pid), address))
    return found


def port_holder(port: int) -> Holder:
    """Who listens on `port`; one that can be named before one that cannot."""
    return max(port_holders(port), key=lambda holder: holder.pid > 0, default=Holder(0, ""))


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


def marked_names(home: Path) -> list[str]:
    """The topmost processes of the stack of `home`, each as its name and number."""
    found = []
    for process in marked(home):
        with suppress(psutil.Error):
            found.append(f"{process.name()} (pid {process.pid})")
    return found


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


def began(pid: int) -> str:
    """When `pid` started, as hex digits that no other process of that number has; empty if it does not run.

    On Linux the clock ticks from the start of the machine to that of the process (proc(5), `starttime`) and the
    beginning of the machine's boot id: whatever tells the time of day, as `psutil.Process.create_time` does, changes
    for all processes when somebody sets the clock, and then everything that is at work would count as dead.
    """
    if not is_alive(pid):
        return ""
    try:
        boot = BOOT_ID.read_text(encoding="ascii")[:8]
        # The command's name, in parentheses, may hold spaces and parentheses of its own.
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        return f"{int(ticks):x}{boot}"
    except (OSError, ValueError, IndexError):
        pass
    try:
        return f"{int(psutil.Process(pid).create_time() * 100):x}"
    except psutil.Error:
        return ""


def is_same(pid: int, since: str) -> bool:
    """Whether `pid` is still the process that :func:`began` so: numbers are used again, above all after a reboot."""
    return bool(since) and began(pid) == since


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


def _command(pid: int | None) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:80] if pid else ""
    except psutil.Error:
        return "ended meanwhile"


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
