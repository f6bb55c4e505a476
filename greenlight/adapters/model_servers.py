"""The processes that serve one version: which, how they are started, and when they are ready."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from greenlight.adapters import keys
from greenlight.adapters.bento import QUIET, SOURCES
from greenlight.adapters.prediction_key import prediction_key
from greenlight.adapters.servers import Supervisor, Watcher, tail
from greenlight.adapters.sockets import UnixHttp, runtime_dir
from greenlight.config import Settings
from greenlight.core import prediction_files
from greenlight.errors import ServerError

READY_PATH = "/readyz"
# A server that has ended so often before it was ready will not get ready.
MOST_STARTS = 3
LOOK_S = 0.2


def command(socket: Path, *, with_parent: bool = False) -> list[str]:
    """How one process is started; the working directory must be the bento's ``src``."""
    args = ["-m", "bentos.classifier.server", "--socket", str(socket)]
    return [sys.executable, *args, *(["--with-parent"] if with_parent else [])]


def environment(home: Path, metrics: Path) -> dict[str, str]:
    """Variables of one process.

    One thread each, since processes are what uses the cores; no usage tracking.
    """
    return {
        **QUIET,
        "BENTOML_HOME": str(home / "bentoml"),
        # Whose signatures count; `keys.for_servers` writes it.
        "GREENLIGHT_TRUSTED_KEYS": str(home / keys.TRUSTED),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        # The packed code answers; a path given from outside could put other code before it.
        "PYTHONPATH": "",
        "PYTHONUNBUFFERED": "1",
    }


def scoring(home: Path) -> dict[str, str]:
    """All variables of a process that scores with a bento's code and is no server."""
    given = {**os.environ, **environment(home, home)}
    del given["PROMETHEUS_MULTIPROC_DIR"]  # it counts nothing
    return given


def keeping(settings: Settings) -> dict[str, str]:
    """Variables of a process that answers real requests: what it keeps of them, and where.

    What is only tried (`greenlight.operations.preflight`) goes without, and leaves nothing.
    """
    variables = {
        "GREENLIGHT_LABELS_FOLDER": str(settings.home / "labels"),
        "GREENLIGHT_METRICS_FOLDER": str(settings.home / "serving" / "metrics"),
        "GREENLIGHT_PREDICTION_FEATURES": settings.prediction_features,
        "GREENLIGHT_PREDICTION_LOG_MB": str(settings.prediction_log_mb),
        "GREENLIGHT_PREDICTION_TABLE_ROWS": str(settings.prediction_table_rows),
    }
    if settings.tracing:
        variables["GREENLIGHT_TRACING"] = settings.tracing
    if settings.prediction_log_mb:
        variables["GREENLIGHT_PREDICTION_FOLDER"] = str(settings.home / prediction_files.FOLDER)
        # The path and not the secret: an environment can be read by others, and is shown in error messages.
        variables["GREENLIGHT_PREDICTION_HASH_KEY"] = str(prediction_key(settings.home))
    return variables


def response_cache(settings: Settings) -> dict[str, str]:
    """The variable that tells a server how many rows' scores to keep; it reads the setting's own name."""
    return {"GREENLIGHT_RESPONSE_CACHE_ROWS": str(settings.response_cache_rows)}


@contextmanager
def checking_seal(settings: Settings, bento: Path) -> Iterator[subprocess.Popen[str]]:
    """The bento's own check of its signature, begun: one line on stdout, exit status 0 if the signature holds."""
    keys.for_servers(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "bentos.classifier.seal"],
        cwd=bento / SOURCES,
        env={**os.environ, **environment(settings.home, settings.home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class ModelServers:
    """The server processes of all versions.

    Parameters
    ----------
    settings : Settings
        Number of processes, home, limits.
    supervisor : Supervisor
        Keeps them up.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._runtime = runtime_dir(settings.home)

    def sockets(self, version: str) -> list[Path]:
        """The sockets of `version`, one a process."""
        return [self._runtime / f"{name}.sock" for name in self.names(version)]

    def names(self, version: str) -> list[str]:
        """The names of the processes of `version`."""
        return [f"model-{version}-{i + 1}" for i in range(self._settings.server_processes)]

    def start(self, version: str, bento: Path, drain_s: float, replaced: Callable[[], None] = lambda: None) -> None:
        """Have all processes of `version` run and wait until each is ready.

        Parameters
        ----------
        replaced : callable
            Called when a process that ran with other settings was replaced and is ready, before the next one is: of
            processes that answer users never more than one is away.

        Raises
        ------
        ServerError
            One is not ready in time, or ends again and again; the end of its log is in the message and none of them is
            left running.
        """
        keys.for_servers(self._settings)
        metrics = self._metrics(version)
        if not any(self._supervisor.state(name).pid for name in self.names(version)):
            shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True, exist_ok=True)
        self._remove_surplus(version)
        for name, socket in zip(self.names(version), self.sockets(version), strict=True):
            watcher = Watcher(
                name,
                command(socket),
                bento / SOURCES,
                environment(self._settings.home, metrics) | keeping(self._settings) | response_cache(self._settings),
                grace_s=drain_s + 10,
            )
            ran = self._supervisor.state(name).pid
            if self._supervisor.ensure(watcher) and ran and name != self.names(version)[-1]:
                self._wait_ready(version, name, socket, self._settings.start_timeout_s)
                replaced()
        until = time.monotonic() + self._settings.start_timeout_s
        for name, socket in zip(self.names(version), self.sockets(version), strict=True):
            self._wait_ready(version, name, socket, until - time.monotonic())

    def _wait_ready(self, version: str, name: str, socket: Path, timeout_s: float) -> None:
        starts = _Starts(self._supervisor, name)
        if wait_ready(socket, timeout_s, starts.are_few):
            return
        log = self._supervisor.log_of(name)
        limit = f"was not ready after {self._settings.start_timeout_s:g} s"
        what = limit if starts.are_few() else f"ended {len(starts.pids) - 1} times before it was ready"
        wrote = tail(log)
        self.stop(version)
        raise ServerError(
            f"{name} {what}; it last wrote:\n{wrote}",
            where=str(log),
            todo="correct the cause, or raise GREENLIGHT_START_TIMEOUT_S",
        )

    def stop(self, version: str) -> None:
        """End all processes of `version`, those of an earlier number of processes as well."""
        prefix = f"model-{version}-"
        for state in self._supervisor.states():
            if state.name.startswith(prefix):
                self._supervisor.remove(state.name)
                (self._runtime / f"{state.name}.sock").unlink(missing_ok=True)
        shutil.rmtree(self._metrics(version), ignore_errors=True)

    def _remove_surplus(self, version: str) -> None:
        """Processes of a time when more of them were wanted."""
        for state in self._supervisor.states():
            if state.name.startswith(f"model-{version}-") and state.name not in self.names(version):
                self._supervisor.remove(state.name)

    def versions(self) -> list[str]:
        """Versions that have processes now."""
        names = (s.name.split("-") for s in self._supervisor.states() if s.name.startswith("model-"))
        return sorted({parts[1] for parts in names if len(parts) == 3})

    def _metrics(self, version: str) -> Path:
        return self._settings.home / "serving" / "metrics" / version


class _Starts:
    """How often the supervisor has started one process since it was first asked."""

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self._supervisor, self._name = supervisor, name
        self._next = 0.0
        self.pids: set[int] = set()

    def are_few(self) -> bool:
        """Whether it may still get ready; asks the supervisor now and then."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOK_S
            self.pids |= {self._supervisor.state(self._name).pid} - {0}
        return len(self.pids) <= MOST_STARTS


def wait_ready(socket: Path, timeout_s: float, is_running: Callable[[], bool] = lambda: True) -> bool:
    """Whether the server on `socket` says that it is ready within `timeout_s`, as long as `is_running`."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until and is_running():
        try:
            with UnixHttp(socket, timeout_s=2) as client:
                if client.request("GET", READY_PATH).status == 200:
                    return True
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    return False
