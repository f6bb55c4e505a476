"""The stack: everything that stays up between runs. Start it, stop it, say how it is.

`up` may be repeated at any time: what runs as it should is left alone, what died or changed is started again,
and what serves is restored from the desired state.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from greenlight.adapters import prefect, prefect_zombies, processes
from greenlight.adapters.bento import QUIET
from greenlight.adapters.edge import Edge
from greenlight.adapters.edge_config import REQUEST_TIMEOUT_S
from greenlight.adapters.edge_drain import drain
from greenlight.adapters.servers import ProcessState, Supervisor, Watcher
from greenlight.config import Settings
from greenlight.core.release import Desired
from greenlight.errors import EdgeError, ServerError
from greenlight.operations.known_versions import mend
from greenlight.operations.looks import overridden
from greenlight.operations.serving import EDGE, Log, Serving, silent
from greenlight.wiring import open_project

PREFECT_SERVER = "prefect-server"
PREFECT_WORKER = "prefect-worker"
RELEASE_WATCH = "release-watch"


@dataclass(frozen=True)
class StackStatus:
    """How the stack is.

    Attributes
    ----------
    up : bool
        The supervisor runs, and with it the edge and Prefect.
    live : dict
        ``version`` (empty before the first release), ``run``, ``since``, ``processes`` (healthy ones by the
        edge), ``standby`` (versions whose servers are kept for a roll back).
    urls : dict[str, str]
        ``edge``, ``predict``, ``docs``, ``prefect``.
    processes : tuple[ProcessState, ...]
        Everything that the supervisor keeps up.
    history : tuple[dict, ...]
        What served when, oldest first.
    home : str
        Where logs and work state are.
    note : str
        What a person must know beyond that; empty when there is nothing.
    release : dict
        The release by steps that is under way (`greenlight.operations.evidence.status_of`); empty without one.
    """

    up: bool
    live: dict[str, Any]
    urls: dict[str, str]
    processes: tuple[ProcessState, ...] = ()
    history: tuple[dict[str, Any], ...] = field(default=())
    home: str = ""
    note: str = ""
    release: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The status as JSON values."""
        states = [{"name": p.name, "state": p.state, "pid": p.pid} for p in self.processes]
        return {
            "up": self.up,
            "live": self.live,
            "urls": self.urls,
            "processes": states,
            "history": list(self.history),
            "home": self.home,
            "note": self.note,
            "release": self.release,
        }


def up(settings: Settings, *, log: Log = silent) -> StackStatus:
    """Start whatever of the stack does not run, and restore what served.

    Raises
    ------
    ServerError
        A port is taken by somebody else, the address is none of this machine, or a process does not come up; the
        message holds the end of its log.
    EdgeError
        Envoy refuses its configuration.
    """
    serving = Serving(open_project(settings, lenient=True), log)
    # A wrong setting must not take down what works: everything is tried before anything is stopped.
    _require_ports(settings)
    serving.check_edge()
    for folder in ("logs", "serving", "prefect", "tmp"):
        (settings.home / folder).mkdir(parents=True, exist_ok=True)
    environment = {**prefect.environment(settings), **QUIET}
    fresh = serving.supervisor.start(environment)
    log("supervisor started" if fresh else "supervisor runs already")
    # Prefect takes the longest to start; everything else happens meanwhile.
    changed = serving.supervisor.ensure(_prefect_server(settings, environment))
    log("prefect server starting" if changed else "prefect server runs already")
    with serving.desired.changing("up", timeout_s=settings.start_timeout_s):
        for line in mend(serving.project):
            log(line)
        serving.edge_up()
        state = serving.heal()
        log(f"{state.live} serves" if state.live else "no version is live yet")
    serving.wait_for(PREFECT_SERVER, lambda: prefect.is_healthy(settings))
    # Registered each time: what prefect.yaml says may have changed, and nothing happens when it has not.
    log(f"deployments: {', '.join(prefect.register_deployments(settings))}")
    prefect_zombies.watch(settings)
    serving.supervisor.ensure(_prefect_worker(settings, environment))
    serving.supervisor.ensure(_release_watch(settings, environment))
    for name in (PREFECT_WORKER, RELEASE_WATCH):
        serving.wait_for(name, partial(_is_active, serving.supervisor, name))
    return status(settings)


def down(settings: Settings, *, log: Log = silent) -> None:
    """Stop everything that belongs to this stack; what serves is remembered for the next `up`.

    Requests under way are answered first.
    """
    supervisor = Supervisor(settings.home)
    try:
        left = drain(Edge(settings), REQUEST_TIMEOUT_S)
        if left:
            log(f"{left} requests were still under way after {REQUEST_TIMEOUT_S} s")
    except EdgeError as exc:  # whatever it is, it must not stand in the way of stopping
        log(exc.what)
    if supervisor.is_up():
        supervisor.stop()
        log("stopped")
        return
    ended = supervisor.end_leftovers()
    log(f"the supervisor was not running; ended {ended} processes that it had left" if ended else "nothing was running")


def status(settings: Settings) -> StackStatus:
    """How the stack is; only reads."""
    serving = Serving(open_project(settings, lenient=True))
    states = tuple(serving.supervisor.states())
    history = serving.project.registry.history(strict=False)
    state = serving.desired.load()
    live: dict[str, Any] = {"version": state.live, "run": "", "since": "", "processes": 0}
    live["standby"] = list(state.standby)
    if state.live:
        version = next((v for v in serving.project.registry.versions() if v.name == state.live), None)
        live["run"] = version.run if version else ""
        live["overridden"] = overridden(serving.project, version.commit) if version else []
        entries = [entry for entry in history if entry.version == state.live]
        live["since"] = entries[-1].created.isoformat() if entries else ""
    edge_up = serving.edge.is_up()
    if state.live and edge_up:
        live["processes"] = serving.edge.healthy(state.live)
    running = {s.name for s in states if s.pid and s.state == "active"}
    urls = {
        "edge": settings.edge_url,
        "predict": f"{settings.edge_url}/predict",
        "docs": f"{settings.edge_url}/docs",
        "prefect": prefect.ui_url(settings),
    }
    return StackStatus(
        up=edge_up and {EDGE, PREFECT_SERVER, PREFECT_WORKER} <= running,
        live=live,
        urls=urls,
        processes=states,
        history=tuple({"version": e.version, "created": e.created.isoformat()} for e in history),
        home=str(settings.home),
        note="" if serving.supervisor.runs() else _abandoned(settings, edge_up),
        release=_release(settings, state),
    )


def _release(settings: Settings, state: Desired) -> dict[str, Any]:
    """The release by steps that is under way; what it takes to tell is imported only where there is one."""
    if state.rollout is None:
        return {}
    from greenlight.operations.evidence import status_of

    return status_of(settings.home, state)


def _abandoned(settings: Settings, answers: bool) -> str:
    """What a supervisor that is gone has left; empty if nothing."""
    left = ", ".join(processes.marked_names(settings.home))
    if not left:
        return ""
    does = "what it left still answers" if answers else "what it left still runs and does not answer"
    return f"the supervisor is gone; {does}: {left}. Nothing restarts it when it dies; greenlight up mends it"


def _require_ports(settings: Settings) -> None:
    """Find out that edge or Prefect could not listen, and because of whom, before anything fails on it.

    Raises
    ------
    ServerError
        Somebody else listens there, or the address is none of this machine.
    """
    wanted = {EDGE: (settings.edge_port, "EDGE_PORT"), PREFECT_SERVER: (settings.prefect_port, "PREFECT_PORT")}
    if settings.edge_port == settings.prefect_port:
        raise ServerError(f"edge and Prefect are both set to port {settings.edge_port}", where="GREENLIGHT_EDGE_PORT")
    ours = processes.marked_pids(settings.home)
    for name, (port, setting) in wanted.items():
        problem = processes.bind_error(settings.host, port)
        if problem is None:
            continue
        if problem.errno != errno.EADDRINUSE:
            raise ServerError(
                f"{name} cannot listen there: {problem.strerror}",
                where=f"{settings.host}:{port}",
                todo=f"set GREENLIGHT_HOST to an address of this machine, GREENLIGHT_{setting} to a port you may use",
            )
        holders = processes.port_holders(port, settings.host) or [processes.Holder(0, "")]
        if any(h.pid in ours and h.address == settings.host for h in holders):
            continue
        strangers = [h for h in holders if h.pid not in ours]
        if strangers:
            raise ServerError(
                f"port {port} of {name} is taken by {strangers[0]}",
                where=f"{settings.host}:{port}",
                todo=f"end that process, or set GREENLIGHT_{setting} to a free port",
            )


def _prefect_server(settings: Settings, environment: Mapping[str, str]) -> Watcher:
    command = [*_prefect(), "server", "start", "--host", settings.host, "--port", str(settings.prefect_port)]
    return Watcher(PREFECT_SERVER, command, settings.home / "prefect", environment)


def _prefect_worker(settings: Settings, environment: Mapping[str, str]) -> Watcher:
    command = [*_prefect(), "worker", "start", "--pool", prefect.POOL, "--type", "process"]
    return Watcher(PREFECT_WORKER, command, settings.root, environment, grace_s=30)


def _release_watch(settings: Settings, environment: Mapping[str, str]) -> Watcher:
    command = [sys.executable, "-m", "greenlight.operations.release_watch"]
    return Watcher(RELEASE_WATCH, command, settings.root, environment)


def _is_active(supervisor: Supervisor, name: str) -> bool:
    return supervisor.state(name).state == "active"


def _prefect() -> list[str]:
    return [str(Path(sys.executable).with_name("prefect"))]
