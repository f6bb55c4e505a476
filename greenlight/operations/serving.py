"""What serves now and what should: the desired state, the servers and the edge seen as one thing.

`Serving` holds the few moves that ``up``, ``release`` and ``rollback`` share, each of which may be repeated
after a crash. It must not know how a version was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from greenlight.adapters import bento as bentos
from greenlight.adapters import edge_log, tls
from greenlight.adapters.client_keys import ClientKeys
from greenlight.adapters.desired import DesiredState
from greenlight.adapters.edge import Edge
from greenlight.adapters.edge_config import REQUEST_TIMEOUT_S
from greenlight.adapters.edge_drain import drain
from greenlight.adapters.model_servers import ModelServers
from greenlight.adapters.registry import Version
from greenlight.adapters.servers import Supervisor, Watcher, tail
from greenlight.adapters.waiting import wait_until
from greenlight.core import release as moves
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import Rollout
from greenlight.errors import GreenlightError, ServerError
from greenlight.operations import sealing
from greenlight.operations.workspace import materialize
from greenlight.wiring import Project

Log = Callable[[str], None]
EDGE, EDGE_LOG = "edge", "edge-log"
# Envoy's threads take a new route a moment after it was acknowledged; idle must hold that long to count.
SETTLE_S = 0.25
# Two health checks: until then the edge may take a process that was replaced for well, or for dead.
NOTICE_S = 2.5


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
            state = self.desired.load()
            known = {version: self.servers.sockets(version) for version in (state.live, state.candidate) if version}
            self.edge.prepare(steps.traffic(state), known | self.clusters(), _releases(state))
        if self.supervisor.ensure(Watcher(EDGE, self.edge.command(), self.settings.home)):
            self.log("edge starting")
        paths = self.edge.paths
        self.supervisor.ensure(Watcher(EDGE_LOG, edge_log.command(paths.access_log, paths.admin), self.settings.home))
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

        def replaced() -> None:
            time.sleep(NOTICE_S)
            self.edge.wait_healthy(version, self.settings.server_processes)

        self.servers.start(version, bento, self.project.params.release.drain_s, replaced)
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
        """Give the edge the versions that have processes now, and the release under way."""
        state = self.desired.load()
        # Whoever ended a release may have died before the edge was told: its routes still name that release's
        # cluster, and requests would fail once it is gone.
        if state.live and self.edge.healthy(state.live):
            self.follow(state)
        self.edge.set_clusters(self.clusters(), _releases(state))

    def follow(self, state: Desired) -> None:
        """Have the edge share the traffic as the desired state says.

        Raises
        ------
        EdgeError
            It does not answer, or refuses.
        """
        if not self.edge.follows(steps.traffic(state)):
            self.edge.set_traffic(steps.traffic(state))

    def settle(self, rollout: Rollout) -> None:
        """Wait until nothing is under way that was shared between both versions, at most ``release.drain_s``.

        What is asked of the candidate may still need the stable version, and finds it through the release's cluster.
        """
        limit = max(self.project.params.release.drain_s, SETTLE_S)
        if not wait_until(lambda: not self.edge.under_way(rollout.version, rollout.stable), limit, 0.02):
            self.log(f"requests shared between {rollout.version} and {rollout.stable} take longer than {limit:g} s")

    def clusters(self) -> dict[str, list[Path]]:
        """Sockets of every version that has processes now."""
        return {version: self.servers.sockets(version) for version in self.servers.versions()}

    def retire(self, state: Desired) -> Desired:
        """Stop every version that is on its way out, once it has answered what it was asked.

        Without the supervisor nothing is known of the servers, and the edge must not be told that there are none: what
        is on its way out is stopped by whoever comes next.
        """
        if not self.supervisor.is_up():
            if state.retiring:
                self.log(
                    f"the supervisor is down, {', '.join(state.retiring)} is stopped later; greenlight up mends it"
                )
            return state
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
            state = self._start_candidate(state)
            self.follow(state)
        return self.retire(self.warm(state))

    def _start_candidate(self, state: Desired) -> Desired:
        """Have the candidate of a release run again; one that does not start ends its release."""
        version = state.candidate
        if not version:
            return state
        try:
            self.start(version, self.bento(self.project.registry.get(version)))
        except GreenlightError as exc:
            self.log(f"{version} is no longer being released: {exc.what}")
            ended = steps.end(state, "rolled_back", f"it did not start again: {exc.what}", time.time())
            return self.desired.save(ended, f"{version} did not start again")
        return state


def _releases(state: Desired) -> list[tuple[str, str]]:
    """Candidate and stable version of the release under way, also while the candidate gets ready."""
    return [(state.rollout.version, state.rollout.stable)] if state.rollout else []
