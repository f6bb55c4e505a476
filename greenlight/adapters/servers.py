"""The supervisor: circus, which keeps the processes of the stack up and restarts what dies.

One daemon per home, spoken to over a unix socket. Nothing about what should run is kept in it: after a crash
everything is started again from the desired state. It must not know what the processes do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenlight.adapters import processes
from greenlight.adapters.sockets import runtime_dir
from greenlight.adapters.waiting import wait_until
from greenlight.errors import ServerError

START_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 10.0
LOG_BYTES = 10 * 2**20
LOG_FILES = 3
FINGERPRINT = "GL_WATCHER"
# How often circus looks whether a process has died: what is killed is away for half of it, and its own start.
LOOK_S = 0.2
# Circus repeats a start that the system refuses (its folder is gone, the program is) without end and without doing
# anything else. A shell always starts: then it is a process that ends at once, is started anew after a while, and says
# in its log what is missing.
IN_FOLDER = ("/bin/sh", "-c", 'cd "$0" && exec "$@"')


@dataclass(frozen=True)
class Watcher:
    """One process to keep up.

    Attributes
    ----------
    name : str
        Its name in ``status`` and of its log file.
    command : Sequence[str]
        Program and arguments.
    folder : Path
        Working directory.
    environment : Mapping[str, str]
        Laid over the supervisor's own environment.
    grace_s : float
        How long it may take to end when asked.
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 15.0

    @property
    def fingerprint(self) -> str:
        """Changes when anything about how the process is started changes."""
        # What differs from shell to shell and changes nothing must not restart a process that works.
        environment = sorted((k, v) for k, v in self.environment.items() if k.upper() not in ("PATH", "NO_PROXY"))
        parts = [list(self.command), str(self.folder), environment]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ProcessState:
    """What the supervisor says of one process.

    Attributes
    ----------
    name : str
        The watcher's name.
    state : str
        ``active``, ``stopped``, ``starting`` or ``stopping``.
    pid : int
        0 when there is none.
    """

    name: str
    state: str
    pid: int


class Supervisor:
    """The circus daemon of one home.

    Parameters
    ----------
    home : Path
        Greenlight's work state.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runtime = runtime_dir(home)
        self.endpoint = f"ipc://{self.runtime / 'circus.sock'}"
        self.pid_file = self.runtime / "circusd.pid"
        self.logs = home / "logs"

    def is_up(self) -> bool:
        """Whether the daemon runs and answers."""
        return self._pid() != 0 and self._ask("numwatchers", timeout_s=2.0) is not None

    def runs(self) -> bool:
        """Whether the daemon's process is there, whether or not it answers just now."""
        return self._pid() != 0

    def start(self, environment: Mapping[str, str]) -> bool:
        """Start the daemon unless it runs; first end what a killed one left. Returns whether it was started.

        Parameters
        ----------
        environment : mapping of str to str
            Laid over this process's environment, for the daemon and everything under it.

        Raises
        ------
        ServerError
            It does not answer in time; the end of its log is in the message.
        """
        if self.is_up():
            return False
        self.end_leftovers()
        try:
            process = self._spawn(environment)
        except OSError as exc:
            raise ServerError(
                f"the supervisor could not be started: {exc.strerror}", where=str(exc.filename or self.home)
            ) from exc
        if not wait_until(lambda: process.poll() is not None or self.is_up(), START_TIMEOUT_S, 0.05) or process.poll():
            raise ServerError(
                f"the supervisor did not start:\n{tail(self.logs / 'supervisor.log')}",
                where=str(self.logs / "supervisor.log"),
                todo="run greenlight doctor",
            )
        return True

    def _spawn(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.logs.mkdir(parents=True, exist_ok=True)
        runtime_dir(self.home)
        config = self.runtime / "circus.ini"
        config.write_text(
            "[circus]\n"
            f"endpoint = {self.endpoint}\n"
            f"pubsub_endpoint = ipc://{self.runtime / 'circus-pub.sock'}\n"
            f"check_delay = {LOOK_S}\nstatsd = false\nhttpd = false\n",
            encoding="utf-8",
        )
        marks = {processes.MARK: str(self.home), "PYTHONUNBUFFERED": "1"}
        with (self.logs / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "circus.circusd", str(config), "--log-level", "info"],
                env={**os.environ, **environment, **marks},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid_file.write_text(str(process.pid), encoding="utf-8")
        return process

    def ensure(self, watcher: Watcher) -> bool:
        """Have `watcher` run as described; one that runs differently is replaced. Returns whether anything changed."""
        present = self._ask("options", name=watcher.name)
        if present and present.get("status") == "ok":
            same = present["options"].get("env", {}).get(FINGERPRINT) == watcher.fingerprint
            if same and self.state(watcher.name).pid:
                if present["options"].get("graceful_timeout") != watcher.grace_s:
                    self._must("set", name=watcher.name, options={"graceful_timeout": watcher.grace_s})
                return False
            self.remove(watcher.name)
        options = {
            "working_dir": "/",
            "copy_env": True,
            "env": {**watcher.environment, FINGERPRINT: watcher.fingerprint},
            "graceful_timeout": watcher.grace_s,
            "max_retry": -1,
            # Half a second between two starts of a process that dies at once.
            "warmup_delay": 0.5,
            # The prefect worker must be able to end its own children in order.
            "stop_children": False,
            "stdout_stream": self._log_stream(watcher.name),
            "stderr_stream": self._log_stream(watcher.name),
        }
        command = shlex.join([*IN_FOLDER, str(watcher.folder), *watcher.command])
        self._must("add", name=watcher.name, cmd=command, options=options, start=True)
        return True

    def remove(self, name: str, grace_s: float = 60.0) -> None:
        """Stop `name`, wait until its process has ended, and forget it; unknown names are fine."""
        pid = self.state(name).pid
        answer = self._ask("rm", name=name, nostop=False, waiting=True, timeout_s=grace_s + CALL_TIMEOUT_S)
        if answer is None and self.is_up():
            raise ServerError(f"{name} did not stop within {grace_s:.0f} s", todo="look at " + str(self.log_of(name)))
        if pid:
            wait_until(lambda: not processes.is_alive(pid), grace_s, 0.02)

    def states(self) -> list[ProcessState]:
        """All processes, by name; empty when the daemon is down."""
        answer = self._ask("status") or {}
        found = [(name, state) for name, state in answer.get("statuses", {}).items()]
        return [ProcessState(name, state, self._pid_of(name)) for name, state in sorted(found)]

    def state(self, name: str) -> ProcessState:
        """One process; ``stopped`` with pid 0 when the supervisor does not know it."""
        answer = self._ask("status", name=name) or {}
        return ProcessState(name, answer.get("status", "stopped"), self._pid_of(name))

    def stop(self, grace_s: float = 30.0) -> None:
        """Stop everything, then the daemon; nothing of this stack runs afterwards."""
        pid = self._pid()
        if pid and self._ask("quit", waiting=False, timeout_s=CALL_TIMEOUT_S) is not None:
            wait_until(lambda: not processes.is_alive(pid), grace_s, 0.05)
        self.end_leftovers()
        if self.home not in self.runtime.parents:
            shutil.rmtree(self.runtime, ignore_errors=True)

    def end_leftovers(self) -> int:
        """End what a supervisor that is gone has left, and its sockets; returns how many processes there were."""
        ended = processes.end(processes.marked(self.home), grace_s=10.0)
        for path in self.runtime.glob("*.sock"):
            path.unlink(missing_ok=True)
        self.pid_file.unlink(missing_ok=True)
        return ended

    def log_of(self, name: str) -> Path:
        """The log file of one process."""
        return self.logs / f"{name}.log"

    def _log_stream(self, name: str) -> dict[str, Any]:
        return {
            "class": "FileStream",
            "filename": str(self.log_of(name)),
            "max_bytes": LOG_BYTES,
            "backup_count": LOG_FILES,
        }

    def _pid(self) -> int:
        """The daemon's process, 0 if it does not run; a pid that somebody else got meanwhile does not count."""
        try:
            pid = int(self.pid_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0
        return pid if processes.carries_mark(pid, self.home) else 0

    def _pid_of(self, name: str) -> int:
        answer = self._ask("list", name=name) or {}
        pids = answer.get("pids") or []
        return int(pids[0]) if pids else 0

    def _must(self, command: str, **properties: Any) -> dict[str, Any]:
        answer = self._ask(command, **properties)
        if answer is None or answer.get("status") == "error":
            reason = (answer or {}).get("reason", "it does not answer")
            raise ServerError(f"the supervisor refused {command} {properties.get('name', '')}: {reason}")
        return answer

    def _ask(self, command: str, *, timeout_s: float = CALL_TIMEOUT_S, **properties: Any) -> dict[str, Any] | None:
        """The daemon's answer, or None if there is none."""
        if not (self.runtime / "circus.sock").exists():
            return None
        from circus.client import CircusClient
        from circus.exc import CallError

        client = CircusClient(endpoint=self.endpoint, timeout=timeout_s)
        until = time.monotonic() + timeout_s
        try:
            while True:
                answer: dict[str, Any] = client.send_message(command, **properties)
                # Circus runs one change at a time and refuses a second one meanwhile.
                busy = answer.get("status") == "error" and "arbiter is already running" in str(answer.get("reason"))
                if not busy or time.monotonic() >= until:
                    return answer
                time.sleep(0.05)
        except CallError:
            return None
        finally:
            client.stop()


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log, indented; says so when there is none."""
    try:
        text = path.read_bytes()[-8192:].decode("utf-8", "replace")
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (empty log)"
