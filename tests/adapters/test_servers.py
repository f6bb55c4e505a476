"""The supervisor: real circus, small processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from greenlight.adapters import processes
from greenlight.adapters.servers import Supervisor, Watcher, tail
from greenlight.adapters.waiting import wait_until

SLEEP = "import time; print('begun', flush=True); time.sleep(600)"


def watcher(name: str, code: str = SLEEP, **more: str) -> Watcher:
    return Watcher(name, [sys.executable, "-c", code], Path("/"), more, grace_s=3)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    made.start({})
    try:
        yield made
    finally:
        made.stop()
        assert not processes.marked(tmp_path), "something was left running"


def test_start_keep_up_replace_remove(supervisor: Supervisor) -> None:
    assert supervisor.start({}) is False, "a daemon that runs is left alone"
    assert supervisor.ensure(watcher("a"))
    assert not supervisor.ensure(watcher("a"))
    first = supervisor.state("a").pid
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: supervisor.state("a").pid not in (0, first), 30, 0.05), "restarted"
    second = supervisor.state("a").pid
    assert not supervisor.ensure(watcher("a", PATH="/elsewhere")), "another shell's PATH restarts nothing"
    patient = dataclasses.replace(watcher("a"), grace_s=7)
    assert not supervisor.ensure(patient), "nor does another time to end, which holds from now on"
    assert supervisor._ask("options", name="a")["options"]["graceful_timeout"] == 7
    assert supervisor.ensure(watcher("a", SETTING="2")), "another setting does"
    assert supervisor.state("a").pid != second
    assert not processes.is_alive(second)
    assert wait_until(lambda: "begun" in tail(supervisor.log_of("a")), 30, 0.05)
    last = supervisor.state("a").pid
    supervisor.remove("a")
    assert not processes.is_alive(last)
    assert supervisor.states() == []


def test_process_that_ignores_the_first_signal_is_killed(supervisor: Supervisor) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); time.sleep(600)"
    supervisor.ensure(watcher("stubborn", code))
    assert wait_until(lambda: "begun" in tail(supervisor.log_of("stubborn")), 30, 0.05)
    pid = supervisor.state("stubborn").pid
    supervisor.remove("stubborn")
    assert not processes.is_alive(pid)


def test_a_process_whose_folder_is_gone_holds_nobody_else_up(supervisor: Supervisor, tmp_path: Path) -> None:
    """Circus tries a start that the system refuses again and again, and does nothing else meanwhile."""
    folder = tmp_path / "folder"
    folder.mkdir()
    supervisor.ensure(Watcher("homeless", [sys.executable, "-c", SLEEP], folder))
    supervisor.ensure(watcher("other"))
    homeless, other = supervisor.state("homeless").pid, supervisor.state("other").pid
    folder.rmdir()
    os.kill(homeless, signal.SIGKILL)
    assert wait_until(lambda: "folder" in tail(supervisor.log_of("homeless")), 10, 0.05), "it says what is missing"
    os.kill(other, signal.SIGKILL)
    assert wait_until(lambda: supervisor.state("other").pid not in (0, other), 10, 0.05)
    folder.mkdir()
    begun = supervisor.log_of("homeless").read_text().count("begun")
    assert wait_until(lambda: supervisor.log_of("homeless").read_text().count("begun") > begun, 10, 0.05)


def test_killed_daemon_blocks_nothing_and_strangers_are_left_alone(supervisor: Supervisor) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.DEVNULL)
    try:
        supervisor.ensure(watcher("a"))
        orphan = supervisor.state("a").pid
        assert wait_until(lambda: "begun" in tail(supervisor.log_of("a")), 30, 0.05)
        daemon = int(supervisor.pid_file.read_text())
        os.kill(daemon, signal.SIGKILL)
        assert wait_until(lambda: not processes.is_alive(daemon), 30, 0.02)
        assert processes.is_alive(orphan)
        assert not supervisor.is_up()
        assert supervisor.start({}) is True
        assert not processes.is_alive(orphan)
        assert supervisor.states() == []
        assert processes.is_alive(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_pid_file_of_another_process_is_not_believed(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.pid_file.write_text(str(os.getpid()))
    assert not supervisor.is_up()
    supervisor.stop()
    assert psutil.pid_exists(os.getpid())


def test_two_homes_do_not_see_each_other(supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Supervisor(tmp_path_factory.mktemp("other"))
    other.start({})
    try:
        other.ensure(watcher("b"))
        assert supervisor.states() == []
        assert other.state("b").pid
    finally:
        other.stop()
    assert supervisor.is_up()
