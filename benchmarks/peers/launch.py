"""Start the peers, one after the other, and say how each is reached."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers import talk
from benchmarks.peers.environments import python_of
from benchmarks.peers.talk import Talk
from greenlight.adapters import processes
from greenlight.adapters.sockets import UnixHttp

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 90
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes
    ----------
    target : str
        ``host:port``, or the path of a unix socket.
    talk : Talk
        How it is asked.
    pids : tuple of int
        Its processes.
    """

    target: str
    talk: Talk
    pids: tuple[int, ...]

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and content of one answer."""
        headers = {"content-type": "application/json"}
        if self.target.startswith("/"):
            with UnixHttp(Path(self.target), timeout_s=60) as client:
                answer = client.request(method, path, body, headers)
            return answer.status, answer.body
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


Start = Callable[[Path, int], AbstractContextManager[Served]]


@contextmanager
def running(
    command: list[str], sources: Path, served: Served, ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """`command` in `sources` until it answers `ready` with a 200; ends it afterwards.

    Raises
    ------
    LookupError
        It does not; the message is the end of what it wrote.
    """
    env = {**os.environ, **ONE_THREAD, "PYTHONPATH": f"{sources}{os.pathsep}{ROOT}", **(environment or {})}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, cwd=sources, env=env, stdout=log, stderr=log)
        try:
            until = time.monotonic() + START_TIMEOUT_S
            while not _answers(served, ready):
                if server.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise LookupError("did not start: " + log.read().decode(errors="replace")[-600:])
                time.sleep(0.05)
            family = psutil.Process(server.pid)
            pids = (family.pid, *(child.pid for child in family.children(recursive=True)))
            yield Served(served.target, served.talk, pids)
        finally:
            processes.end([psutil.Process(server.pid)] if server.poll() is None else [], grace_s=10)
            server.wait()


def _answers(served: Served, path: str) -> bool:
    try:
        return served.ask("GET", path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def bentoml(target: tuple[str, ...], talked: Talk, workers: int = 1, *, bare: bool = True) -> Start:
    """``bentoml serve`` with its defaults.

    Parameters
    ----------
    bare : bool
        As if uvloop and httptools were missing, which are not among BentoML's own dependencies.
    """

    @contextmanager
    def start(sources: Path, port: int) -> Iterator[Served]:
        with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
            env = {"STOCK_WORKERS": str(workers), "BENTOML_DO_NOT_TRACK": "True"}
            if bare:
                for name in ("uvloop", "httptools"):
                    line = "raise ImportError('not installed, for this measurement')\n"
                    (Path(folder) / f"{name}.py").write_text(line)
                env["PYTHONPATH"] = os.pathsep.join((folder, str(sources), str(ROOT)))
            program = str(Path(sys.executable).with_name("bentoml"))
            asked = [part.format(sources=sources, bento=sources.parent) for part in target]
            command = [program, "serve", *asked, "--host", "127.0.0.1", "--port", str(port)]
            with running(command, sources, Served(f"127.0.0.1:{port}", talked, ()), "/readyz", env) as served:
                yield served

    return start


def uvicorn(module: str, *, tcp: bool = False) -> Start:
    """An ASGI application under uvicorn with uvloop and httptools, on a unix socket as our model servers are."""

    @contextmanager
    def start(sources: Path, port: int) -> Iterator[Served]:
        with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
            socket = f"{folder}/peer.sock"
            where = ["--port", str(port)] if tcp else ["--uds", socket]
            settings = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
            command = [sys.executable, "-m", "uvicorn", f"benchmarks.peers.{module}:app", *where, *settings]
            served = Served(f"127.0.0.1:{port}" if tcp else socket, talk.OURS, ())
            with running(command, sources, served, "/readyz") as found:
                yield found

    return start


@contextmanager
def mlflow(sources: Path, port: int) -> Iterator[Served]:
    """``mlflow models serve`` in its own environment; uvicorn as MLflow's dependencies bring it."""
    python = python_of("mlflow")
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        model = f"{folder}/model"
        env = {**os.environ, "PYTHONPATH": f"{sources}{os.pathsep}{ROOT}", "MLFLOW_DISABLE_TELEMETRY": "true"}
        save = [str(python), "-m", "benchmarks.peers.mlflow_model", model]
        done = subprocess.run(save, cwd=sources, env=env, capture_output=True, text=True)
        if done.returncode:
            raise LookupError(f"the model could not be saved: {done.stderr[-600:]}")
        command = [str(python), "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
        command += ["--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
        # MLflow starts uvicorn through the path.
        more = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with running(command, sources, Served(f"127.0.0.1:{port}", talk.MLFLOW, ()), "/ping", more) as served:
            yield served


@contextmanager
def mlserver(sources: Path, port: int) -> Iterator[Served]:
    """MLServer in its own environment, with its defaults: one process beside the one that speaks HTTP."""
    from serving_kit import free_port

    python = python_of("mlserver")
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        about = {"name": "flights", "implementation": "benchmarks.peers.mlserver_model.Runtime"}
        (Path(folder) / "model-settings.json").write_text(json.dumps(about))
        settings = {
            "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
            "debug": False, "metrics_dir": folder,
        }  # fmt: skip
        (Path(folder) / "settings.json").write_text(json.dumps(settings))
        command = [str(python.with_name("mlserver")), "start", folder]
        served = Served(f"127.0.0.1:{port}", talk.MLSERVER, ())
        with running(command, sources, served, "/v2/models/flights/ready") as found:
            yield found
