"""What serves now and what should: the desired state, the servers and the edge seen as one thing.

`Serving` holds the few moves that ``up``, ``release`` and ``rollback`` share, each of which may be repeated
after a crash. It must not know how a version was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from greenlight.adapters import bento as bentos
from greenlight.adapters import tls
from greenlight.adapters.client_keys import ClientKeys
from greenlight.adapters.desired import DesiredState
from greenlight.adapters.edge import Edge, wait_until
from greenlight.adapters.edge_config import REQUEST_TIMEOUT_S
from greenlight.adapters.edge_drain import drain
from greenlight.adapters.model_servers import ModelServers
from greenlight.adapters.registry import Version
from greenlight.adapters.servers import Supervisor, Watcher, tail
from greenlight.core import release as moves
from greenlight.core.release import Desired
from greenlight.errors import GreenlightError, ServerError
from greenlight.operations import sealing
from greenlight.operations.workspace import materialize
from greenlight.wiring import Project

Log = Callable[[str], None]
EDGE = "edge"
# Envoy's threads take a new route a moment after it was acknowledged; idle must hold that long to count.
SETTLE_S = 0.25


def silent(_: str) -> None:
    """A log that keeps nothing."""


class Serving:
    """The serving side of one project.

    Parameters
    ----------
    project : Project
        Settings, parameters, repository and registry.
    log : callable
        Takes one line at a time.
    """

    def __init__(self, project: Project, log: Log = silent) -> None:
        self.project = project
        self.settings = project.settings
        self.log = log
        self.supervisor = Supervisor(self.settings.home)
        self.servers = ModelServers(self.settings, self.supervisor)
        self.edge = Edge(self.settings)
        self.desired = DesiredState(self.settings.home)

    def require_up(self) -> None:
        """Refuse to work on a stack that is down.

        Raises
        ------
        ServerError
            The supervisor or the edge does not answer.
        """
        if not (self.supervisor.is_up() and wait_until(self.edge.is_up, 10.0, 0.1)):
            raise ServerError("the stack is down, nothing can be released", todo="run greenlight up")

    def check_edge(self) -> None:
        """Have Envoy say yes to other settings than those that it runs with, before anything is stopped for them.

        Raises
        ------
        EdgeError
            It says no; what runs goes on.
        ConfigError
            The certificate cannot be used; what runs goes on.
        """
        self._hand_out()
        if self.edge.is_up() and self.edge.listens_elsewhere():
            self.edge.check()

    def edge_up(self) -> None:
        """Start the edge with what should serve, unless it runs as it should.

        Raises
        ------
        EdgeError
            Envoy refuses the settings; an edge that runs with others goes on.
        """
        self._hand_out()
        running = self.supervisor.state(EDGE).pid and self.edge.is_up()
        if running and self.edge.listens_elsewhere():
            self.check_edge()
            self.let_go()
            self.supervisor.remove(EDGE)
            running = False
        if not running:
            live = self.desired.load().live
            known = {live: self.servers.sockets(live)} if live else {}
            self.edge.prepare(live, known | self.clusters())
        if self.supervisor.ensure(Watcher(EDGE, self.edge.command(), self.settings.home)):
            self.log("edge starting")
        self.wait_for(EDGE, self.edge.is_up)

    def _hand_out(self) -> None:
        """Put the files of keys and certificate in their places, which Envoy wants to see there when it starts."""
        if self.settings.client_keys:
            ClientKeys(self.edge).ensure_own()
        tls.install(self.edge, self.settings)

    def let_go(self) -> None:
        """Let the edge answer what it was asked before it is stopped."""
        left = drain(self.edge, REQUEST_TIMEOUT_S)
        if left:
            self.log(f"{left} requests were still under way after {REQUEST_TIMEOUT_S} s")

    def wait_for(self, name: str, holds: Callable[[], bool]) -> None:
        """Wait until `holds` says that the process `name` answers.

        Raises
        ------
        ServerError
            It does not within ``start_timeout_s``; the end of its log is in the message.
        """
        limit = self.settings.start_timeout_s
        if not wait_until(holds, limit, 0.1):
            log = self.supervisor.log_of(name)
            raise ServerError(
                f"{name} did not answer within {limit:g} s; it last wrote:\n{tail(log)}",
                where=str(log),
                todo="correct the cause and run greenlight up again",
            )

    def bento(self, version: Version) -> Path:
        """The bento of `version`; one that is missing or without the version's signature is built from its run."""
        name = self.project.params.dataset
        found = bentos.find(name, version.name, self.settings.home)
        if found and sealing.carries_signature(self.project, version, found):
            return found
        self.log(f"building the bento {name}:{version.name} from run {version.run}")
        with materialize(self.settings, version.commit, [self.project.params.paths.model]) as workspace:
            return sealing.build(self.project, version, workspace)

    def start(self, version: str, bento: Path) -> None:
        """Have the processes of `version` run and the edge know them; no traffic yet."""
        self.servers.start(version, bento, self.project.params.release.drain_s)
        self.tell_edge()
        self.edge.wait_healthy(version, self.settings.server_processes)

    def is_warm(self, version: str) -> bool:
        """Whether all processes of `version` run and the edge sees each of them answer."""
        wanted = self.settings.server_processes
        running = [name for name in self.servers.names(version) if self.supervisor.state(name).pid]
        return len(running) == wanted and self.edge.healthy(version) == wanted

    def warm(self, state: Desired) -> Desired:
        """Have what is on standby run; one that does not start is given up, since it serves nobody."""
        for number, version in enumerate(state.standby):
            if number >= self.project.params.release.keep_warm:
                state = self.desired.save(moves.cool(state, version), f"{version} is no longer to be kept warm")
                continue
            try:
                self.start(version, self.bento(self.project.registry.get(version)))
            except GreenlightError as exc:
                self.log(f"{version} is no longer on standby: {exc.what}")
                state = self.desired.save(moves.cool(state, version), f"{version} on standby did not start")
        return state

    def tell_edge(self) -> None:
        """Give the edge the versions that have processes now."""
        self.edge.set_clusters(self.clusters())

    def clusters(self) -> dict[str, list[Path]]:
        """Sockets of every version that has processes now."""
        return {version: self.servers.sockets(version) for version in self.servers.versions()}

    def retire(self, state: Desired) -> Desired:
        """Stop every version that is on its way out, once it has answered what it was asked."""
        for version in state.retiring:
            if version != state.live:
                self.drain(version)
                self.servers.stop(version)
            state = self.desired.save(moves.retire(state, version), f"{version} stopped")
        self.tell_edge()
        return state

    def drain(self, version: str) -> None:
        """Wait until `version` has nothing under way, at most ``release.drain_s``."""
        limit = self.project.params.release.drain_s
        until = time.monotonic() + max(limit, SETTLE_S)
        idle_since = time.monotonic()
        while time.monotonic() < until:
            if self.edge.active_requests(version):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= SETTLE_S:
                return
            time.sleep(0.02)
        left = self.edge.active_requests(version)
        if left:
            self.log(f"{version} still has {left} requests under way after {limit:g} s; its servers finish them")

    def tidy(self) -> Desired:
        """Give up a release that ended before its switch, and write down one that ended after it.

        Call it while holding the right to change what serves. Needs no server of the live version to work: a
        broken one must not stand in the way of the release that replaces it.
        """
        state = self.desired.load()
        if state.incoming:
            self.log(f"{state.incoming} was being released when that stopped; giving it up")
            state = self.desired.save(moves.abandon(state), f"gave up {state.incoming}")
        if state.live:
            self.project.registry.assign(self.project.registry.get(state.live))
        for version in self.servers.versions():
            if version not in state.running:
                self.servers.stop(version)
        return state

    def heal(self) -> Desired:
        """Make everything agree with the desired state; call it while holding the right to change it."""
        state = self.tidy()
        if state.live:
            self.start(state.live, self.bento(self.project.registry.get(state.live)))
            if self.edge.live_on_file() != state.live:
                self.edge.set_live(state.live)
        return self.retire(self.warm(state))
