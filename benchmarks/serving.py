"""How fast the served bento answers, beside other ways to serve the same model, on the same cores in one run.

``make bench-serving``: starts every peer (benchmarks/peers), checks that each answers the golden rows as we do, asks
them in turn in several rounds, and prints each figure beside its target. Ratios of one round are the result; absolute
figures belong to the machine. Writes ``benchmarks/results/serving.json``. A peer that could not be installed is listed
as such; one that answers otherwise than ours is an error. Wants a machine that does nothing else: ours and the load
generator need two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import edge_kit  # noqa: E402
import serving_kit as kit  # noqa: E402

from benchmarks import load_check, tables, weights  # noqa: E402
from benchmarks import serving_report as report  # noqa: E402
from benchmarks.peers import bare_loop, launch, talk  # noqa: E402
from benchmarks.peers.launch import Served  # noqa: E402
from benchmarks.running import cpu_name, cpu_seconds, memory_mb, run_load, serving  # noqa: E402
from greenlight.adapters import bento, model_servers  # noqa: E402
from greenlight.config import Settings  # noqa: E402
from greenlight.operations.release import release  # noqa: E402
from greenlight.operations.serving import Serving  # noqa: E402
from greenlight.wiring import open_project  # noqa: E402

RESULT = HERE / "results" / "serving.json"
STOCK_SERVICE = ("--working-dir", "{sources}", "benchmarks.peers.stock_service:Stock")
PEERS: dict[str, launch.Start] = {
    report.STOCK: launch.bentoml(STOCK_SERVICE, talk.STOCK),
    "stock bentoml serve, our bento": launch.bentoml(("{bento}",), talk.OURS),
    "MLflow's model server": launch.mlflow,
    "MLServer": launch.mlserver,
    report.FASTAPI: launch.uvicorn("fastapi_app"),
    report.RAW: launch.uvicorn("raw_asgi"),
}
MORE_PEERS: dict[str, launch.Start] = {
    "bentoml serve with uvloop and httptools": launch.bentoml(STOCK_SERVICE, talk.STOCK, bare=False),
    "bentoml serve, a worker per core": launch.bentoml(STOCK_SERVICE, talk.STOCK, os.cpu_count() or 1, bare=False),
}


def main() -> None:
    """Measure, print the tables, write the file."""
    parser = argparse.ArgumentParser(description="Requests per second beside other servers of the same model.")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--table-rows", type=int, default=tables.ROWS)
    parser.add_argument("--more", action="store_true", help="`bentoml serve` in other settings, too")
    parser.add_argument("--only", default="", help="peers whose name holds this; writes no file")
    args = parser.parse_args()
    os.environ.update({"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"})
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gl-bench-", ignore_cleanup_errors=True) as folder:
        settings = kit.project(Path(folder) / "project", 1, workers=1, rounds=200, eta=0.01, depth=6)
        with serving(settings):
            release(settings, "v1")
            found = _measured(settings, Path(folder), args)
        with edge_kit.world(Path(folder) / "weights", "v1", "v2", releases=[("v2", "v1")]) as place:
            found["weights"] = weights.measure(place, 30, 3)
    found |= {"machine": {"cores": os.cpu_count(), "cpu": cpu_name(), "python": platform.python_version()}}
    found |= {"settings": vars(args), "seconds": round(time.monotonic() - begun)}
    figures = report.figures(found)
    print("\n".join(_page(found, figures)))
    if not args.only:
        RESULT.write_text(json.dumps({"figures": [f.to_json() for f in figures], **found}, indent=1) + "\n")
        print(f"written: {RESULT.relative_to(HERE.parent)}")


def _measured(settings: Settings, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    sources = bento.path_of(kit.DATASET.name, "v1", settings.home) / bento.SOURCES
    found: dict[str, Any] = {"missing": {}}
    found["start"], floor = _starts(settings, sources, folder), _floor(sources)
    with ExitStack() as stack:
        contenders = _contenders(stack, settings, sources, found["missing"], args)
        _require_equal(contenders, json.loads((sources / "data/model/golden.json").read_text())["rows"])
        bodies = _bodies(contenders, folder)
        names = [report.DIRECT, report.EDGE]
        extra = (report.NO_LOG, report.CACHE)
        many = [name for name in contenders if name not in extra]
        for name in contenders:  # the first requests pay for caches
            _load(contenders, name, bodies, 1, args.connections, 0.7)
        found |= {"one_row": {}, "many_rows": {}, "one_connection": {}, "bare": []}
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", flush=True)
            for key, among, rows, connections, seconds in (
                ("one_row", list(contenders), 1, args.connections, args.seconds),
                ("many_rows", many, 1000, args.connections, args.seconds * 0.7),
                ("one_connection", names, 1, 1, args.seconds * 0.5),
            ):
                for name in among:
                    took = _load(contenders, name, bodies, rows, connections, seconds)
                    found[key].setdefault(name, []).append(took)
            found["bare"].append(_bare(sources, args.seconds / 3))
        if load_check.installed():
            found["load"] = load_check.shares(
                sources, kit.free_port(), bodies(report.DIRECT, 1), args.connections, args.seconds * 0.7, args.rounds
            )
        found["memory"] = memory_mb(contenders[report.DIRECT].pids[0]) | {"floor_of_imports": floor}
        table = tables.table_of(kit.requests(5000), args.table_rows)
        table = tables.Tables(settings, sources, folder, contenders[report.DIRECT].target, table)
        found["tables"] = table.measure(rounds=min(2, args.rounds))
    return found


def _contenders(
    stack: ExitStack, settings: Settings, sources: Path, missing: dict[str, str], args: argparse.Namespace
) -> dict[str, Served]:
    started: dict[str, Served] = {}
    for name, start in (PEERS | (MORE_PEERS if args.more else {})).items():
        if args.only and args.only not in name:
            continue
        print(f"starting {name}", flush=True)
        try:
            started[name] = stack.enter_context(start(sources, kit.free_port()))
        except LookupError as exc:
            missing[name] = str(exc)
            print(f"  not installed or not started: {exc}", flush=True)
    for name, variables in (
        (report.NO_LOG, {"GREENLIGHT_PREDICTION_FOLDER": ""}),
        (report.CACHE, {"GREENLIGHT_RESPONSE_CACHE_ROWS": "100000"}),
    ):
        started[name] = stack.enter_context(own_server(settings, sources, name.replace(" ", "-")[-9:], variables))
    serving = Serving(open_project(settings))
    (socket,) = serving.servers.sockets("v1")
    pids = {state.name: state.pid for state in serving.supervisor.states()}
    model = pids["model-v1-1"]
    started[report.DIRECT] = Served(str(socket), talk.OURS, (model,))
    started[report.EDGE] = Served(f"127.0.0.1:{settings.edge_port}", talk.OURS, (model, pids["edge"]))
    return started


@contextmanager
def own_server(settings: Settings, sources: Path, name: str, variables: dict[str, str]) -> Iterator[Served]:
    """One more process of the version, as Greenlight starts them, with other settings."""
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        env = model_servers.environment(settings.home, Path(folder)) | model_servers.keeping(settings) | variables
        socket = f"{folder}/{name}.sock"
        served = Served(socket, talk.OURS, ())
        with launch.running(
            model_servers.command(Path(socket), with_parent=True), sources, served, "/readyz", env
        ) as found:
            yield found


def _starts(settings: Settings, sources: Path, folder: Path) -> list[float]:
    """Seconds from the start of a process until it says that it is ready."""
    found = []
    for number in range(3):
        begun = time.monotonic()
        with own_server(settings, sources, f"start-{number}", {"GREENLIGHT_PREDICTION_FOLDER": ""}):
            found.append(round(time.monotonic() - begun, 3))
    return found


def _floor(sources: Path) -> dict[str, float]:
    """Memory of a process that has imported what a server imports, and nothing else."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from benchmarks.running import memory_mb\nimport json, os\n"
        "import bentoml, uvicorn, uvloop, httptools, orjson, prometheus_client\n"
        "from greenlight.core.booster import xgboost\nxgboost()\n"
        "print(json.dumps(memory_mb(os.getpid())))"
    )
    environment = {**os.environ, **launch.ONE_THREAD, "PYTHONPATH": str(sources)}
    command = [sys.executable, "-c", code, str(HERE.parent)]
    done = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _require_equal(contenders: dict[str, Served], golden: list[dict[str, Any]]) -> None:
    """Every contender answers the golden rows with the offline scores, to the last bit, or nothing is measured."""
    rows = [row["request"] for row in golden]
    expected = [row["probability"] for row in golden]
    for name, served in contenders.items():
        status, answer = served.ask("POST", served.talk.path, served.talk.ask(rows))
        if status != 200 or served.talk.read(answer) != expected:
            raise SystemExit(f"{name} answers the golden rows otherwise than ours: {status} {answer[:600]!r}")


def _bodies(contenders: dict[str, Served], folder: Path) -> Callable[[str, int], Path]:
    kept: dict[tuple[str, int], Path] = {}

    def body(name: str, rows: int) -> Path:
        talked = contenders[name].talk
        key = (talked.path + str(talked.body), rows)
        if key not in kept:
            kept[key] = folder / f"body-{len(kept)}.jsonl"
            count = 64 if rows == 1 else 4
            kept[key].write_bytes(b"\n".join(talked.ask(kit.requests(rows, seed)) for seed in range(count)))
        return kept[key]

    return body


def _load(
    contenders: dict[str, Served], name: str, bodies: Callable[[str, int], Path], rows: int, connections: int, s: float
) -> dict[str, float]:
    served = contenders[name]
    before = cpu_seconds(served.pids)
    found = run_load(served.target, served.talk.path, bodies(name, rows), connections, s)
    found["cpu_us"] = round((cpu_seconds(served.pids) - before) / max(found["requests"], 1) * 1e6, 1)
    if found["failed"] or not found["requests"]:
        raise SystemExit(f"{name}: {found['failed']} of {found['requests']} requests failed")
    return found


def _bare(sources: Path, seconds: float) -> dict[str, float]:
    rows = "\n".join(json.dumps(row) for row in kit.requests(1000))
    environment = {**os.environ, **launch.ONE_THREAD, "PYTHONPATH": f"{sources}{os.pathsep}{HERE.parent}"}
    command = [sys.executable, "-m", "benchmarks.peers.bare_loop", str(seconds)]
    done = subprocess.run(command, cwd=sources, env=environment, input=rows, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {**found, "many": found[bare_loop.MANY]}


def _page(found: dict[str, Any], figures: list[report.Figure]) -> Iterator[str]:
    connections, rounds = found["settings"]["connections"], found["settings"]["rounds"]
    yield f"\nOne row a request, {connections} connections, one worker each, medians of {rounds} rounds\n"
    yield from report.peers_table(found["one_row"], 1)
    yield "\n1,000 rows a request\n"
    yield from report.peers_table(found["many_rows"], 1000)
    yield "\nNo server, one core, rows a second: " + "; ".join(
        f"{name}: {report.figure('', [turn[name] for turn in found['bare']]).median:,.0f}"
        for name in found["bare"][0]
        if name != "many"
    )
    for name, why in found["missing"].items():
        yield f"not installed: {name} ({why.splitlines()[-1][:200]})"
    memory = found["memory"]
    for name, one in (
        ("a worker after load", memory),
        ("a process with its imports alone", memory["floor_of_imports"]),
    ):
        yield f"memory of {name}: {one['uss_mb']} MB USS, {one['pss_mb']} PSS, {one['rss_mb']} RSS"
    yield ""
    yield from report.figures_table(figures)


if __name__ == "__main__":
    main()
