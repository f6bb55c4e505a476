"""Building bentos, and what is in them."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit

from greenlight.adapters import bento, model_servers, processes
from greenlight.adapters.sockets import UnixHttp, runtime_dir
from greenlight.errors import BentoError


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.workspace(tmp_path_factory.mktemp("work"), kit.small_model())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, work: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    build(work, home)
    return home


# A signature is another one each time that it is made.
sealed = functools.cache(kit.sealed)


def build(work: Path, home: Path, version: str = "v1") -> Path:
    packed = sealed(work, home)
    return bento.build(work, name="flight_delay", version=version, labels={"run": "r1"}, home=home, sealed=packed)


@contextmanager
def served(folder: Path, home: Path) -> Iterator[UnixHttp]:
    socket = runtime_dir(home) / f"{folder.name[:12]}.sock"
    metrics = home / "metrics"
    metrics.mkdir(exist_ok=True)
    process = subprocess.Popen(
        model_servers.command(socket, with_parent=True),
        cwd=folder / "src",
        env={**os.environ, **model_servers.environment(home, metrics)},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert model_servers.wait_ready(socket, 60, lambda: process.poll() is None)
        with UnixHttp(socket) as client:
            yield client
    finally:
        process.kill()
        process.wait()


def predict(client: UnixHttp) -> Any:
    body = json.dumps({"rows": kit.requests(1)}).encode()
    return client.request("POST", "/predict", body, {"content-type": "application/json"})


def test_holds_the_scoring_half_and_the_model_only(home: Path) -> None:
    source = bento.path_of("flight_delay", "v1", home) / "src"
    packages = {
        p.relative_to(source).parts[:2] for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    assert {("bentos", "classifier"), ("data", "model"), ("greenlight", "core")} <= packages
    inside = {parts[1] for parts in packages if parts[0] == "greenlight"}
    modules = {
        "__init__.py",
        "errors.py",
        "config.py",
        "edge_settings.py",
        "limits.py",
        "release_params.py",
        "sections.py",
    }
    assert inside == {*modules, "core", "datasets"}
    assert {parts[0] for parts in packages} == {"bentos", "data", "greenlight", "bentofile.yaml"}
    assert not list(source.rglob("*.pkl"))


def test_labels_version_and_packages_are_written_down(home: Path, work: Path) -> None:
    folder = bento.path_of("flight_delay", "v1", home)
    text = (folder / "bento.yaml").read_text()
    assert "run: r1" in text
    assert bento.model_hash(work / "data/model") in text
    assert "version: v1" in text
    assert "xgboost==" in (folder / "env/python/requirements.txt").read_text()
    assert (folder.parent / "latest").read_text() == "v1"


def test_same_model_is_not_built_again(home: Path, work: Path) -> None:
    folder = bento.path_of("flight_delay", "v1", home)
    before = folder.stat().st_ino, folder.stat().st_mtime_ns
    assert build(work, home) == folder
    assert (folder.stat().st_ino, folder.stat().st_mtime_ns) == before


def test_half_a_bento_and_one_of_another_model_are_replaced(tmp_path: Path, work: Path, home: Path) -> None:
    shutil.copytree(bento.store(home), bento.store(tmp_path))
    folder = bento.path_of("flight_delay", "v1", tmp_path)
    (folder / "bento.yaml").unlink()
    (bento.store(tmp_path) / ".build-.p1-1-abcdef").mkdir()  # process 1 began at another time: its maker is gone
    assert bento.find("flight_delay", "v1", tmp_path) is None
    assert build(work, tmp_path) == folder
    assert bento.find("flight_delay", "v1", tmp_path) == folder
    assert not list(bento.store(tmp_path).glob(".build-*"))
    other = kit.workspace(tmp_path / "other", kit.small_model(2))
    build(other, tmp_path)
    assert bento.model_hash(folder / "src/data/model") == bento.model_hash(other / "data/model")


def test_missing_model_and_broken_code_say_so_and_leave_nothing(tmp_path: Path, work: Path) -> None:
    with pytest.raises(BentoError, match="no model to pack"):
        bento.build(tmp_path, name="flight_delay", version="v1", labels={}, home=tmp_path / "home")
    broken = shutil.copytree(work, tmp_path / "broken")
    (broken / "bentos/classifier/service.py").write_text("raise RuntimeError('spilled coffee')\n")
    with pytest.raises(BentoError, match="spilled coffee"):
        build(broken, tmp_path / "home")
    assert bento.find("flight_delay", "v1", tmp_path / "home") is None
    assert not list((tmp_path / "home/bentoml").glob(".build-*"))


def test_the_packed_code_answers_not_the_checkout(home: Path, tmp_path: Path) -> None:
    """A bento whose copy of the code was changed answers with the change."""
    folder = shutil.copytree(bento.path_of("flight_delay", "v1", home), tmp_path / "changed")
    for name, old, new in (
        ("src/greenlight/core/model.py", "probability >= np", "probability < np"),
        ("src/bentos/classifier/wire.py", '"x-model-version"', '"x-changed"'),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    with served(bento.path_of("flight_delay", "v1", home), home) as client:
        original = predict(client)
    with served(folder, home) as client:
        changed = predict(client)
    assert original.headers["x-model-version"] == changed.headers["x-changed"] == "v1"
    [a], [b] = original.json()["predictions"], changed.json()["predictions"]
    assert a["probability"] == b["probability"]
    assert a["decision"] is not b["decision"]


def test_server_refuses_code_from_elsewhere(home: Path, tmp_path: Path) -> None:
    """Started from the checkout's folder, the installed package would answer instead of the packed one."""
    source = bento.path_of("flight_delay", "v1", home) / "src"
    code = "import greenlight, runpy; import sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('bentos.classifier.server', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), "--socket", str(tmp_path / "x.sock")],
        cwd=kit.ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "not from the bento" in done.stderr


def test_server_ends_with_its_parent(home: Path) -> None:
    socket = runtime_dir(home) / "child.sock"
    source = bento.path_of("flight_delay", "v1", home) / "src"
    command = [*model_servers.command(socket, with_parent=True)]
    code = f"import subprocess, time; p = subprocess.Popen({command!r}, cwd={str(source)!r}); print(p.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert model_servers.wait_ready(socket, 60)
        parent.kill()
        parent.wait()
        until = time.monotonic() + 5
        while processes.is_alive(child) and time.monotonic() < until:
            time.sleep(0.02)
        assert not processes.is_alive(child)


def test_stock_bentoml_serve_runs_the_same_bento(home: Path) -> None:
    port = kit.free_port()
    folder = bento.path_of("flight_delay", "v1", home)
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", str(folder), "--host", "127.0.0.1"]
    environment = {**os.environ, **bento.QUIET, "BENTOML_HOME": str(bento.store(home))}
    server = subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        body = json.dumps({"rows": kit.requests(1)}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"content-type": "application/json"})
        answer = None
        until = time.monotonic() + 60
        while answer is None and time.monotonic() < until:
            try:
                with urllib.request.urlopen(request, timeout=5) as reply:
                    answer = json.loads(reply.read())
            except OSError:
                time.sleep(0.2)
        assert answer
        assert answer["predictions"][0]["model_version"] == "v1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            page = reply.read().decode()
        assert "greenlight_rows_total" in page
        assert "bentoml_service_request_total" in page
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/docs", timeout=5) as reply:
            assert b"googletagmanager" not in reply.read()
    finally:
        server.terminate()
        server.wait(timeout=20)
