"""The edge: Envoy, told what to do through two files and asked what it does through its admin socket.

Every change is a rename in a watched folder, acknowledged by reading back the version that Envoy serves. It
must not know why traffic moves.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from greenlight.adapters import edge_clusters, edge_config, edge_files, edge_guard, edge_routes
from greenlight.adapters.edge_binary import envoy_binary as envoy_binary
from greenlight.adapters.edge_binary import validate as validate
from greenlight.adapters.edge_clusters import ROLES, Role, cluster_name, release_name
from greenlight.adapters.edge_config import EdgePaths
from greenlight.adapters.edge_files import stamp_now, write
from greenlight.adapters.sockets import Answer, UnixHttp, runtime_dir
from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings
from greenlight.core.rollout import Traffic
from greenlight.errors import EdgeError

CLUSTERS_VERSION = "cluster_manager.cds.version_text"
ASKED = f"vhost.{edge_routes.HOST}.vcluster.{edge_routes.ASKED}.upstream_rq_total"
ROUTES_VERSION = f"http.{edge_config.STAT_PREFIX}.rds.{edge_routes.ROUTES}.version_text"
# During a drain connections are still taken so long, so that clients which keep theirs are told to make a new one.
DRAIN_S = 1


class Edge:
    """The edge of one stack.

    Parameters
    ----------
    settings : Settings
        Where it listens and where its files are.
    """

    def __init__(self, settings: Settings) -> None:
        home = settings.home
        self.paths = EdgePaths(
            folder=home / "serving" / "edge",
            admin=runtime_dir(home) / "edge-admin.sock",
            access_log=home / "logs" / "access.jsonl",
            host=settings.host,
            port=settings.edge_port,
        )
        self.guard = edge_guard.Guard(self.paths.folder, settings)

    def prepare(
        self, traffic: Traffic | str, sockets: Mapping[str, Sequence[Path]], releases: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Write all files for a start with this `traffic`, or all of it to one version."""
        traffic = _all_to(traffic) if isinstance(traffic, str) else traffic
        for folder in (self.paths.clusters.parent, self.paths.routes.parent, self.paths.access_log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        write(self.paths.bootstrap, edge_config.bootstrap(self.paths, self.guard))
        write(self.paths.clusters, edge_clusters.clusters(sockets, stamp_now(), releases))
        write(self.paths.routes, edge_routes.routes(traffic, stamp_now()))

    def check(self) -> None:
        """Let Envoy check the start file for these settings beside the one that it runs with, which stays.

        Raises
        ------
        EdgeError
            Envoy refuses it; its own words are in the message.
        """
        trial = self.paths.bootstrap.with_name("trial.json")
        write(trial, edge_config.bootstrap(self.paths, self.guard))
        try:
            validate(trial)
        finally:
            trial.unlink(missing_ok=True)

    def command(self) -> list[str]:
        """How Envoy is started. Its own log goes to standard error."""
        args = ["-c", str(self.paths.bootstrap), "--log-level", "warn", "--disable-hot-restart"]
        # One event loop moves many times what the model servers answer, and leaves the cores to them.
        drain = ["--drain-time-s", str(DRAIN_S), "--drain-strategy", "immediate"]
        return [envoy_binary(), *args, *drain, "--concurrency", "1"]

    def set_clusters(self, sockets: Mapping[str, Sequence[Path]], releases: Sequence[tuple[str, str]] = ()) -> None:
        """Tell Envoy the versions that exist, with the sockets of each, and wait until it has taken that.

        Parameters
        ----------
        releases : sequence of (str, str)
            Candidate and stable version of each release under way.

        Raises
        ------
        EdgeError
            Envoy refused the file or did not answer in time.
        """
        stamp = stamp_now()
        self._put(self.paths.clusters, edge_clusters.clusters(sockets, stamp, releases), CLUSTERS_VERSION, stamp)

    def set_live(self, version: str, addressable: Sequence[str] = ()) -> float:
        """Send all traffic to `version`; return the seconds until Envoy said that it does.

        Parameters
        ----------
        addressable : sequence of str
            Versions that answer a request which names them, besides `version`.

        Raises
        ------
        EdgeError
            Envoy refused the file or did not answer in time.
        """
        return self.set_traffic(_all_to(version, addressable))

    def set_traffic(self, traffic: Traffic) -> float:
        """Share the traffic so; return the seconds until Envoy said that it does.

        Raises
        ------
        EdgeError
            Envoy refused the file or did not answer in time; what it did before stays.
        """
        stamp = stamp_now()
        begun = time.monotonic()
        self._put(self.paths.routes, edge_routes.routes(traffic, stamp), ROUTES_VERSION, stamp)
        return time.monotonic() - begun

    def give(self, file: Path, content: Callable[[str], dict[str, Any]], stat: str = "") -> None:
        """Store what nobody else may read in a watched file; an edge that reads it has it when this returns.

        Parameters
        ----------
        content : callable
            From Envoy's name for this content to the document.
        stat : str
            Where Envoy says which content it has; empty where it does not say.

        Raises
        ------
        EdgeError
            Envoy refused the file or did not answer in time.
        """
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = stamp_now()
        if stat and self.is_up() and self.stats(stat):
            self._put(file, content(stamp), stat, stamp, 0o600)
        else:
            write(file, content(stamp), 0o600)

    def follows(self, traffic: Traffic) -> bool:
        """Whether the routes on disk, which are Envoy's, share the traffic so."""
        try:
            return edge_routes.same(json.loads(self.paths.routes.read_bytes()), traffic)
        except (FileNotFoundError, ValueError):
            return False

    def live_on_file(self) -> str:
        """The version that the routes on disk send traffic to; empty for none."""
        try:
            routes = json.loads(self.paths.routes.read_bytes())
        except (FileNotFoundError, ValueError):
            return ""
        return edge_routes.live_of(routes)

    def wait_healthy(self, version: str, processes: int, timeout_s: float = 30.0) -> None:
        """Wait until Envoy itself sees all `processes` of `version` answer, whatever they are asked as.

        Raises
        ------
        EdgeError
            It does not within `timeout_s`.
        """
        if wait_until(lambda: self.healthy(version, "model", "candidate", "spare") == processes, timeout_s, 0.05):
            return
        raise EdgeError(
            f"the edge sees {self.healthy(version)} of {processes} processes of {version} answer, {timeout_s:g} s on",
            todo="look at the log of the model server",
        )

    def healthy(self, version: str, *roles: Role) -> int:
        """Processes of `version` that Envoy sees answer, in the role where fewest do; 0 for one that it does not know.

        Parameters
        ----------
        *roles : str
            As what they answer; left out: for the traffic of the stable version.
        """
        found = self.stats(f"cluster.*_{version}.membership_healthy")
        return min(
            int(found.get(f"cluster.{cluster_name(version, r)}.membership_healthy", 0)) for r in roles or ROLES[:1]
        )

    def asked(self) -> int:
        """How often clients asked for a prediction since Envoy runs, whichever version answered; copies do not count.

        Raises
        ------
        EdgeError
            The admin socket does not answer.
        """
        return int(self.stats(ASKED).get(ASKED, 0))

    def active_requests(self, version: str) -> int:
        """Requests that `version` has begun and not finished; 0 for a version that Envoy does not know."""
        found = self.stats(f"cluster.*_{version}.upstream_rq_active")
        return sum(int(found.get(f"cluster.{cluster_name(version, role)}.upstream_rq_active", 0)) for role in ROLES)

    def under_way(self, candidate: str, stable: str) -> int:
        """Requests that were shared between both and are not finished."""
        names = (cluster_name(candidate, "candidate"), cluster_name(stable, "spare"), release_name(candidate, stable))
        found = self.stats(rf"cluster\.({'|'.join(names)})\.upstream_rq_(pending_)?active$")
        return sum(int(value) for value in found.values())

    def is_up(self) -> bool:
        """Whether Envoy's admin answers and its listener is open."""
        try:
            with UnixHttp(self.paths.admin, timeout_s=2) as admin:
                return admin.request("GET", "/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def listens_elsewhere(self) -> bool:
        """Whether the start file on disk was made for other settings than these."""
        try:
            return bool(json.loads(self.paths.bootstrap.read_bytes()) != edge_config.bootstrap(self.paths, self.guard))
        except (FileNotFoundError, ValueError):
            return True

    def stats(self, name_filter: str, kind: str = "All") -> dict[str, Any]:
        """Envoy's statistics whose name the regular expression is found in.

        `kind` may be ``Counters`` or ``TextReadouts``; of those there are few, and asking takes a quarter of the time.

        Raises
        ------
        EdgeError
            The admin socket does not answer.
        """
        found = self.admin("GET", f"/stats?format=json&type={kind}&filter={quote(name_filter)}").json().get("stats", [])
        return {entry["name"]: entry["value"] for entry in found if "name" in entry}

    def histogram(self, name: str) -> dict[float, int]:
        """How many values of a histogram lie at or below each of its limits; empty before the first.

        Raises
        ------
        EdgeError
            The admin socket does not answer.
        """
        target = f"/stats?format=json&histogram_buckets=cumulative&filter={quote('^' + name.replace('.', '[.]') + '$')}"
        for entry in self.admin("GET", target).json().get("stats", []):
            for found in entry.get("histograms", ()):
                return {float(bucket["upper_bound"]): int(bucket["cumulative"]) for bucket in found["buckets"]}
        return {}

    def admin(self, method: str, target: str) -> Answer:
        """Ask Envoy's admin interface.

        Raises
        ------
        EdgeError
            The admin socket does not answer.
        """
        try:
            with UnixHttp(self.paths.admin, timeout_s=5) as admin:
                return admin.request(method, target)
        except (OSError, http.client.HTTPException) as exc:
            raise EdgeError(
                f"the edge does not answer: {exc}", where=str(self.paths.admin), todo="run greenlight up"
            ) from exc

    def _put(self, file: Path, document: dict[str, Any], stat: str, stamp: str, mode: int = 0o666) -> None:
        edge_files.put(self.stats, file, document, stat, stamp, mode)


def _all_to(version: str, addressable: Sequence[str] = ()) -> Traffic:
    named = tuple(dict.fromkeys(v for v in (version, *addressable) if v))
    return Traffic(version, addressable=named)
