"""The command line over a real repository: answers, errors, exit statuses, and what reaches which stream."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from greenlight.adapters.git import Repository
from greenlight.adapters.prefect_runs import LogLine
from greenlight.adapters.registry import Registry
from greenlight.cli import complete
from greenlight.cli.answer import Answer, handed_in
from greenlight.cli.app import app
from greenlight.cli.retrain import Teller
from greenlight.cli.run_views import reproduce_views, sweep_views
from greenlight.cli.terminal import Group
from greenlight.cli.views import reason_text, runs_view, status_view, verdict_view, verify_views
from greenlight.config import Settings
from greenlight.core.changes import Change
from greenlight.core.check import Check
from greenlight.core.contract_report import ContractReport, Failure, Outcome
from greenlight.core.verdict import Verdict
from greenlight.errors import PreflightFailed
from greenlight.operations.provenance import Finding, Verification
from greenlight.operations.reproduction import Output, ReproduceReport
from greenlight.operations.sweep import Row, Sweep
from greenlight.wiring import open_project

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "up",
    "down",
    "status",
    "retrain",
    "runs",
    "show",
    "verify",
    "reproduce",
    "diff",
    "sign",
    "rollback",
    "doctor",
)
COMMANDS += ("release", "backup", "restore", "gc", "hold", "drill", "validate", "traffic", "clients", "score")
METRICS = {"roc_auc": 0.735, "average_precision": 0.51, "log_loss": 0.54, "calibration_error": 0.031}


def git(root: Path, *args: str, stdin: str = "") -> str:
    done = subprocess.run(["git", *args], cwd=root, input=stdin, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def record(root: Path, name: str, outcome: str, created: str, verdict: Verdict) -> str:
    """Save a run as the retrain does: a commit with its reports, under a ref below refs/exps."""
    as_of = name.rsplit("-", 1)[0]
    facts = {
        "name": name,
        "created": created,
        "as_of": as_of,
        "outcome": outcome,
        "reason": verdict.summary(),
        "champion": {"version": "", "run": ""},
        "code": {"commit": "0" * 40, "uncommitted_changes": True},
        "device": {"kind": "cpu", "name": "x86_64"},
        "environment": {"python": "3.11.7", "libraries": {"xgboost": "3.2.0"}},
        "stages": [{"stage": "train", "executed": True, "seconds": 4.25, "summary": "312 rounds"}],
        "trigger": "command line",
    }
    files = {
        "reports/run.json": json.dumps(facts),
        "reports/metrics.json": json.dumps({"candidate": METRICS}),
        "reports/verdict.json": verdict.text(),
        "params.yaml": (ROOT / "params.yaml").read_text(),
    }
    base = git(root, "rev-parse", "HEAD")
    index = {"GIT_INDEX_FILE": str(root / ".git" / "index-of-run")}
    subprocess.run(["git", "read-tree", base], cwd=root, env=os.environ | index, check=True)
    for path, text in files.items():
        blob = git(root, "hash-object", "-w", "--stdin", stdin=text)
        entry = f"100644,{blob},{path}"
        command = ["git", "update-index", "--add", "--cacheinfo", entry]
        subprocess.run(command, cwd=root, env=os.environ | index, check=True)
    tree = subprocess.run(
        ["git", "write-tree"], cwd=root, env=os.environ | index, capture_output=True, text=True, check=True
    ).stdout.strip()
    commit = git(root, "commit-tree", tree, "-p", base, "-m", f"run {name}: {outcome}")
    git(root, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", commit)
    return commit


@pytest.fixture(scope="module")
def recorded(isolate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a promoted run that is v1, and one that the gates kept out."""
    root = tmp_path_factory.mktemp("cli") / "repo"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy2(ROOT / name, root / name)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Start")
    yes = Verdict("promote", (Check("min_roc_auc", "Good enough?", True, 0.735, 0.6, explanation="It is."),))
    no = Verdict("reject", (Check("min_roc_auc", "Good enough?", False, 0.55, 0.6, explanation="0.55 is below 0.6."),))
    first = record(root, "2013-07-0a1b2c", "Promoted", "2026-11-01T02:00:00+00:00", yes)
    record(root, "2013-08-3d4e5f", "KeptChampion", "2026-12-01T02:00:00+00:00", no)
    Registry(Repository(root), "flight_delay").register(first, "2013-07-0a1b2c")
    return root


@pytest.fixture
def greenlight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run a command in a folder; what it keeps goes to a home of its own."""

    def run(folder: Path, *args: str, **settings: str) -> Result:
        monkeypatch.chdir(folder)
        for name, value in ({"HOME": str(tmp_path / "work")} | settings).items():
            monkeypatch.setenv(f"GREENLIGHT_{name}", value)
        return CliRunner().invoke(app, args)

    return run


def rendered(renderable: Any, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def refused(result: Result, status: int = 2) -> str:
    """What an error says: on stderr alone, with what comes next, and without a traceback."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ") or "\nerror: " in result.stderr
    return result.stderr


def test_help_needs_nothing_heavy() -> None:
    """What makes ``greenlight --help`` and shell completion quick."""
    code = (
        "import sys; sys.argv = ['greenlight', '--help']\n"
        "from greenlight.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'prefect', 'dvc', 'polars', 'numpy', 'xgboost', 'bentoml', 'httpx', 'pydantic', 'great_expectations'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stderr.strip() == "[]"
    assert all(f" {name} " in done.stdout for name in COMMANDS)


def test_a_roll_back_imports_nothing_that_takes_time() -> None:
    """It has a second from the command to the switch of the traffic, the start of Python with it."""
    code = (
        "import sys, greenlight.cli.app, greenlight.cli.views, greenlight.operations.rollback\n"
        "heavy = {'prefect', 'dvc', 'polars', 'numpy', 'xgboost', 'bentoml', 'httpx', 'great_expectations'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "[]"


def test_version_names_the_package_version(greenlight: Callable[..., Result], recorded: Path) -> None:
    result = greenlight(recorded, "--version")
    assert (result.exit_code, result.stdout.strip()) == (0, f"greenlight {version('greenlight')}")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_how_to_call_it(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert re.search(rf"^\s+greenlight {command}", result.stdout, re.MULTILINE)


def test_runs_as_json_are_the_list_alone(recorded: Path, greenlight: Callable[..., Result]) -> None:
    result = greenlight(recorded, "runs", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [(run["name"], run["outcome"], run["version"]) for run in found] == [
        ("2013-08-3d4e5f", "KeptChampion", ""),
        ("2013-07-0a1b2c", "Promoted", "v1"),
    ]
    assert found[0]["as_of"] == "2013-08"
    assert found[0]["metrics"] == METRICS
    assert {"name", "created", "as_of", "outcome", "version", "metrics"} <= set(found[0])
    assert len(json.loads(greenlight(recorded, "runs", "--json", "-n", "1").stdout)) == 1


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_runs_fits_and_cuts_no_name(recorded: Path, greenlight: Callable[..., Result], width: int) -> None:
    found = json.loads(greenlight(recorded, "runs", "--json").stdout)
    lines = rendered(runs_view(found, width), width)
    assert max(map(len, lines)) <= width
    assert all(any(run["name"] in line and run["outcome"] in line for line in lines) for run in found)
    assert "0.7350" in "".join(lines)
    assert ("0.0310" in "".join(lines)) == (width == 120)


def test_no_runs_yet_is_said_and_not_an_error(
    tmp_path: Path, greenlight: Callable[..., Result], recorded: Path
) -> None:
    fresh = tmp_path / "fresh"
    subprocess.run(["git", "clone", "-q", "--no-tags", str(recorded), str(fresh)], check=True)
    result = greenlight(fresh, "runs")
    assert result.exit_code == 0
    assert "greenlight retrain" in result.stdout
    assert json.loads(greenlight(fresh, "runs", "--json").stdout) == []


def test_show_takes_a_name_its_beginning_or_a_version(recorded: Path, greenlight: Callable[..., Result]) -> None:
    shown = [
        json.loads(greenlight(recorded, "show", name, "--json").stdout) for name in ("v1", "2013-07", "2013-07-0a1b2c")
    ]
    assert shown[0] == shown[1] == shown[2]
    assert shown[0]["verdict"]["decision"] == "promote"
    assert shown[0]["params"]["dataset"] == "flight_delay"


def test_show_gives_the_reasons_with_value_and_limit(recorded: Path, greenlight: Callable[..., Result]) -> None:
    text = greenlight(recorded, "show", "2013-08").stdout
    for part in ("KeptChampion", "min_roc_auc", "0.5500", "0.6000", "0.55 is below 0.6.", "312 rounds", "3.2.0"):
        assert part in text


def test_an_unknown_run_is_refused_with_what_comes_next(recorded: Path, greenlight: Callable[..., Result]) -> None:
    for command in ("show", "reproduce"):
        said = refused(greenlight(recorded, command, "nope", "--json"))
        assert "no run nope" in said
        assert "next:  greenlight runs" in said


def test_an_unknown_version_is_refused_and_the_known_ones_named(
    recorded: Path, greenlight: Callable[..., Result]
) -> None:
    assert "v1" in refused(greenlight(recorded, "rollback", "--to", "v9"))
    refused(greenlight(recorded, "rollback", "--to", "v1", "--to-run", "2013-07-0a1b2c"))


def test_an_unsigned_version_is_not_verified_and_the_answer_says_what_to_do(
    recorded: Path, greenlight: Callable[..., Result]
) -> None:
    result = greenlight(recorded, "verify", "v1", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["passed"]) == (1, False)
    assert [finding["name"] for finding in found["findings"]] == ["signature"]
    text = greenlight(recorded, "verify", "v1").stdout
    assert "v1 is not verified: signature" in text
    assert "greenlight sign v1" in text
    assert "v1" in refused(greenlight(recorded, "verify", "v9"))
    assert "not a DVC repository" in refused(greenlight(recorded, "sign", "v1"), status=1)


def test_what_is_not_as_it_was_signed_is_named_line_by_line() -> None:
    findings = (
        Finding("key", True, "signed by " + "a" * 64),
        Finding("bento", False, "2 of 8 files", ("model/a differs", "b is missing")),
    )
    report = Verification("v2", "2013-08-aaaaaa", "c" * 40, "a" * 64, findings).to_json()
    lines = [line for part in verify_views(report) for line in rendered(part, 80)]
    assert max(map(len, lines)) <= 80
    assert [line.split("- ")[1].strip() for line in lines if "- " in line and "->" not in line] == [
        "model/a differs",
        "b is missing",
    ]
    assert lines[0] == "v2 is not verified: bento: 2 of 8 files"
    assert lines[-1].startswith("-> delete the bento's folder")


def test_status_of_a_stack_that_is_down(recorded: Path, greenlight: Callable[..., Result]) -> None:
    found = json.loads(greenlight(recorded, "status", "--json", EDGE_PORT="9123").stdout)
    assert found["live"]["version"] == ""
    assert found["urls"]["predict"].startswith("http://127.0.0.1:9123/")
    assert {"edge", "predict", "docs", "prefect"} <= set(found["urls"])
    assert "greenlight up" in greenlight(recorded, "status").stdout


def test_status_names_what_is_live_and_what_is_down() -> None:
    status = {
        "up": False,
        "live": {"version": "v2", "run": "2013-08-3d4e5f", "since": "2026-12-01T02:00:00+00:00"},
        "urls": {"edge": "http://127.0.0.1:8700"},
        "processes": [
            {"name": "edge", "state": "active", "pid": 7},
            {"name": "prefect-server", "state": "stopped", "pid": 0},
        ],
        "history": [{"version": "v1"}, {"version": "v2"}],
    }
    text = "\n".join(rendered(status_view(status), 80))
    assert "v2 (run 2013-08-3d4e5f since" in text
    assert "prefect-server (stopped)" in text
    assert "v1 -> v2" in text


def test_who_overrode_a_gate_is_said_of_what_serves_and_of_its_verdict() -> None:
    given = {"by": "Ada Example", "reason": "Known since the strike", "expires": "2013-09-30"}
    live = {"version": "v2", "run": "2013-08-3d4e5f", "overridden": [{"gate": "min_roc_auc", **given}]}
    status = {"up": True, "live": live, "urls": {}, "processes": [], "history": []}
    said = " ".join(" ".join(rendered(status_view(status), 80)).split())
    assert "min_roc_auc overridden by Ada Example until 2013-09-30: Known since the strike" in said

    check = Check("min_roc_auc", "Does it?", False, 0.55, 0.6, explanation="0.55 is below 0.6.", override=given)
    verdict = Verdict("promote", (check,)).to_json()
    said = " ".join(" ".join(rendered(verdict_view(verdict), 200)).split())
    assert "no min_roc_auc 0.5500 0.6000 0.55 is below 0.6. Overridden by Ada Example until 2013-09-30" in said


def test_a_reproduction_shows_which_output_differs() -> None:
    outputs = [
        {"stage": "train", "path": "data/model", "recorded": "a" * 32, "reproduced": "a" * 32, "same": True},
        {"stage": "gate", "path": "reports/verdict.json", "recorded": "b" * 32, "reproduced": "c" * 32, "same": False},
    ]
    report = {
        "run": "r",
        "verdict": "different",
        "explanation": "1 of 2 outputs differ",
        "outputs": outputs,
        "seconds": 61.2,
    }
    lines = [line for part in reproduce_views(report) for line in rendered(part, 80)]
    assert lines[0].startswith("different: r, 1 of 2 outputs differ")
    assert next(line for line in lines if "reports/verdict.json" in line).rstrip().endswith("different")


def test_a_reproduction_shows_why_and_a_sweep_its_rows() -> None:
    report = ReproduceReport(
        "r",
        "c" * 40,
        "Promoted",
        "equivalent",
        "1 of 1 outputs differ",
        (Output("train", "data/model", "a" * 32, "b" * 32, same=False),),
        3.0,
        stage="train",
        file="data/model/model.ubj",
        environment=(Change("threads.train.openmp", 2, 8),),
    )
    text = "\n".join(line for part in reproduce_views(report.to_json()) for line in rendered(part, 100))
    assert "first difference: stage train, file data/model/model.ubj" in text
    assert "environment: threads.train.openmp 2 -> 8" in text
    assert "bits may differ because of another number of threads" in text

    swept = Sweep(
        (Row("r", "Promoted", "different", 3.0, report.first), Row("s", "Failed", "error", 0.1, "no")), (), 4.0
    )
    assert (swept.verdict, swept.exit_code) == ("different", 1)
    text = "\n".join(line for part in sweep_views(swept.to_json()) for line in rendered(part, 100))
    assert "train: data/model/model.ubj" in text
    assert "0 of 2 runs came back identical, 1 error, 1 different (4 s)" in text
    assert Sweep((), ("t",), 0.1).explanation.endswith("; 1 that broke off before their record were left out")


@pytest.mark.parametrize(
    ("arguments", "said"), [((), "no run was named"), (("v1", "--all"), "a run and --all were asked for")]
)
def test_reproduce_wants_a_run_or_all(
    arguments: tuple[str, ...], said: str, recorded: Path, greenlight: Callable[..., Result]
) -> None:
    found = greenlight(recorded, "reproduce", *arguments)
    assert found.exit_code == 2
    assert said in found.stderr


def test_reproduce_all_of_a_repository_without_bytes_names_every_run(
    recorded: Path, greenlight: Callable[..., Result]
) -> None:
    found = greenlight(recorded, "reproduce", "--all", "--json")
    rows = json.loads(found.stdout)["rows"]
    assert found.exit_code == 1
    assert {row["run"]: row["verdict"] for row in rows} == {"2013-07-0a1b2c": "error", "2013-08-3d4e5f": "error"}


def test_diff_says_what_changed_and_answers_in_json(recorded: Path, greenlight: Callable[..., Result]) -> None:
    text = greenlight(recorded, "diff", "v1", "2013-08-3d4e5f")
    assert text.exit_code == 0, text.stderr
    assert "outcome: Promoted -> KeptChampion" in text.stdout
    assert "min_roc_auc: passed -> failed" in text.stdout
    assert "parameters: the same" in text.stdout
    document = json.loads(greenlight(recorded, "diff", "v1", "2013-08-3d4e5f", "--json").stdout)
    assert document["before"]["version"] == "v1"
    assert document["snapshot"] == []


@pytest.mark.parametrize("command", [("runs",), ("retrain",), ("show", "v1")])
def test_a_misspelt_key_of_params_is_named(
    command: tuple[str, ...], recorded: Path, tmp_path: Path, greenlight: Callable[..., Result]
) -> None:
    root = tmp_path / "misspelt"
    subprocess.run(["git", "clone", "-q", str(recorded), str(root)], check=True)
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("window_months:", "window_month:"))
    said = refused(greenlight(root, *command))
    assert "data.window_month: unknown key, did you mean window_months?" in said
    assert "params.yaml" in said


def test_status_and_rollback_work_beside_mistakes_in_params(
    recorded: Path, tmp_path: Path, greenlight: Callable[..., Result]
) -> None:
    root = tmp_path / "misspelt"
    shutil.copytree(recorded, root)
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("window_months:", "window_month:"))
    result = greenlight(root, "status", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["live"]["version"] == ""
    assert "v9" in refused(greenlight(root, "rollback", "--to", "v9"))


def test_status_says_that_the_supervisor_is_gone() -> None:
    note = "the supervisor is gone; what it left still answers: envoy (pid 7); greenlight up mends it"
    status = {"up": False, "live": {"version": "v2"}, "urls": {}, "processes": [], "history": [], "note": note}
    text = " ".join(" ".join(rendered(status_view(status), 80)).split())
    assert "envoy (pid 7); greenlight up mends it" in text
    assert "down;" not in text


def test_a_misspelt_setting_is_named(recorded: Path, greenlight: Callable[..., Result]) -> None:
    assert "GREENLIGHT_EGDE_PORT" in refused(greenlight(recorded, "runs", EGDE_PORT="9000"))


def test_outside_a_git_repository_it_says_how_to_make_one(tmp_path: Path, greenlight: Callable[..., Result]) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy2(ROOT / name, tmp_path / "cwd" / name)
    assert "git init" in refused(greenlight(tmp_path / "cwd", "runs"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--as-of", "August"), "August"),
        (("--as-of", "2031-01"), "2031-01"),
        (("--set", "train.seeds=7"), "did you mean seed"),
        (("--set", "release.drain_s=1"), "cannot be set for one run"),
        (("--device", "gpu"), "gpu"),
    ],
)
def test_a_mistake_of_a_retrain_is_found_before_anything_starts(
    options: tuple[str, ...], said: str, checkout: Path, tmp_path: Path, greenlight: Callable[..., Result]
) -> None:
    assert said in refused(greenlight(checkout, "retrain", *options))
    assert not (tmp_path / "work").exists()


def failing(error: BaseException) -> typer.Typer:
    """An application whose only command raises."""
    failing_app = typer.Typer(cls=Group, pretty_exceptions_enable=False)

    @failing_app.command()
    def work() -> None:
        raise error

    @failing_app.callback()
    def root() -> None:
        """A group of commands."""

    return failing_app


def test_an_error_of_ours_is_one_message_and_its_status(tmp_path: Path) -> None:
    error = PreflightFailed("p99 is 300 ms, at most 250", where="bento v2", todo="raise preflight.max_p99_ms [sic]")
    result = CliRunner().invoke(failing(error), ["work"])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: p99 is 300 ms, at most 250",
        "  where: bento v2",
        "  next:  raise preflight.max_p99_ms [sic]",
    ]


def test_a_bug_is_one_line_and_a_log(recorded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(recorded)
    monkeypatch.setenv("GREENLIGHT_HOME", str(tmp_path / "work"))
    result = CliRunner().invoke(failing(ZeroDivisionError("by zero\nsecond line")), ["work"])
    log = tmp_path / "work" / "logs" / "cli.log"
    assert result.exit_code == 1
    assert "error: ZeroDivisionError: by zero" in result.stderr
    assert "second line" not in result.stderr
    assert str(log) in result.stderr
    assert "Traceback" in log.read_text()


def test_ctrl_c_is_no_bug() -> None:
    result = CliRunner().invoke(failing(KeyboardInterrupt()), ["work"])
    assert result.exit_code == 130
    assert "Traceback" not in result.output


def test_what_tools_print_does_not_reach_the_answer() -> None:
    """DVC and others print to stdout, some of them from processes of their own."""
    code = (
        "import os, subprocess\n"
        "from greenlight.cli.terminal import answer_only, emit\n"
        "with answer_only():\n"
        "    print('chatter'); os.write(1, b'raw\\n'); subprocess.run(['echo', 'child'])\n"
        "emit({'answer': 1})"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert json.loads(done.stdout) == {"answer": 1}
    assert {"chatter", "raw", "child"} <= set(done.stderr.split())


def test_a_closed_pipe_is_no_error(recorded: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m greenlight.cli runs --json | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=recorded, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr


def test_following_tells_what_the_run_says_and_not_what_prefect_says(capsys: pytest.CaptureFixture[str]) -> None:
    doing: list[str] = []
    teller = Teller(doing.append)

    def say(message: str, stage: str = "", level: int = 20, logger: str = "prefect.task_runs") -> None:
        teller.on_log(LogLine("2026-11-01T02:00:00Z", level, logger, stage, message))

    say("Beginning flow run 'x' for flow 'retrain'", logger="prefect.flow_runs")
    say("Finished in state Completed()", "train")
    say("Worker 'w' submitting", logger="prefect.flow_runs.worker")
    say("train: 312 rounds (4.2 s)", "train")
    say("registered v1", "register")
    say("no worker", level=40, logger="prefect.flow_runs.worker")
    teller.on_state("AwaitingConcurrencySlot")
    lines = [line.split("  ", 1)[1].strip() for line in capsys.readouterr().err.splitlines()]
    assert lines[:3] == ["0:00  train: 312 rounds (4.2 s)", "0:00  register: registered v1", "0:00  no worker"]
    assert "waits for its turn" in lines[3]


def test_names_are_completed_from_git(recorded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(recorded)
    assert complete.versions("v") == ["v1"]
    assert complete.runs("2013-08") == ["2013-08-3d4e5f"]
    assert set(complete.runs_and_versions("")) == {"v1", "2013-07-0a1b2c", "2013-08-3d4e5f"}
    monkeypatch.chdir(tmp_path)
    assert complete.runs_and_versions("") == []


def checks(result: Result) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def test_doctor_finds_a_healthy_checkout_healthy(checkout: Path, greenlight: Callable[..., Result]) -> None:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = {"EDGE_PORT": str(one.getsockname()[1]), "PREFECT_PORT": str(two.getsockname()[1])}
    result = greenlight(checkout, "doctor", "--json", **ports)
    found = checks(result)
    bad = [check for check in found.values() if check["state"] == "fail" and check["name"] != "packages"]
    assert bad == []
    assert {"python", "packages", "git", "git identity", "dvc remote", "envoy", "device", "disk", "stack"} <= set(found)


def test_doctor_names_the_stranger_on_a_port_and_the_package_that_is_missing(
    checkout: Path, greenlight: Callable[..., Result]
) -> None:
    (checkout / "requirements" / "all.txt").write_text("no-such-package==1.0 \\\n    --hash=sha256:00\n")
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        result = greenlight(checkout, "doctor", "--json", EDGE_PORT=str(port))
    found = checks(result)
    assert result.exit_code == 1
    taken = found[f"port {port} (edge)"]
    assert taken["state"] == "fail"
    assert str(os.getpid()) in taken["found"]
    assert "GREENLIGHT_EDGE_PORT" in taken["todo"]
    assert "no-such-package 1.0" in found["packages"]["found"]


def test_doctor_goes_on_where_one_thing_is_broken(tmp_path: Path, greenlight: Callable[..., Result]) -> None:
    (tmp_path / "cwd" / "params.yaml").write_text("dataset: 5\n")
    result = greenlight(tmp_path / "cwd", "doctor", "--json")
    found = checks(result)
    assert result.exit_code == 1
    assert found["git"]["state"] == "fail"
    assert found["params.yaml"]["state"] == "fail"
    assert found["disk"]["state"] in ("ok", "warn")


def test_doctor_outside_a_repository_says_that_first_and_sends_nobody_astray(
    tmp_path: Path, greenlight: Callable[..., Result]
) -> None:
    result = greenlight(tmp_path / "cwd", "doctor", "--json")
    first, *others = json.loads(result.stdout)["checks"]
    assert result.exit_code == 1
    assert (first["name"], first["state"]) == ("repository", "fail")
    assert "not inside a Greenlight repository" in first["found"]
    assert "GREENLIGHT_ROOT" in first["todo"]
    assert "python" in {check["name"] for check in others}
    assert not any(word in check["todo"] for check in others for word in ("make lock", "git init", "dvc init"))


@pytest.mark.parametrize("wrong", ["a file", "below a file"])
def test_doctor_finds_a_remote_that_nothing_can_be_written_to(
    wrong: str, checkout: Path, tmp_path: Path, greenlight: Callable[..., Result]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    url = str(taken if wrong == "a file" else taken / "remote")
    (checkout / ".dvc" / "config").write_text(f"[core]\n    remote = here\n['remote \"here\"']\n    url = {url}\n")
    found = checks(greenlight(checkout, "doctor", "--json"))["dvc remote"]
    assert found["state"] == "fail"
    assert f"{taken} is a file" in found["found"]


@pytest.mark.parametrize("command", [("status",), ("up",), ("down",), ("runs",), ("retrain",), ("rollback",)])
def test_outside_a_repository_it_says_so_and_starts_nothing(
    command: tuple[str, ...], tmp_path: Path, greenlight: Callable[..., Result]
) -> None:
    said = refused(greenlight(tmp_path / "cwd", *command))
    assert "not inside a Greenlight repository" in said
    assert "next:  cd into the repository, or set GREENLIGHT_ROOT" in said
    assert "git" not in said.lower()
    assert not (tmp_path / "work").exists()
    elsewhere = refused(greenlight(tmp_path / "cwd", *command, ROOT=str(tmp_path / "nowhere")))
    assert f"GREENLIGHT_ROOT is {tmp_path / 'nowhere'}" in elsewhere


@pytest.mark.parametrize(("flag", "value"), [("--as-of", "August"), ("--device", "gpu"), ("--device", "cuda")])
def test_a_wrong_flag_is_named_alone(
    flag: str, value: str, checkout: Path, greenlight: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "void")
    if value == "cuda" and shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU here")
    said = refused(greenlight(checkout, "retrain", flag, value))
    assert f"  where: {flag}\n" in said
    assert re.search(rf"next:  .*greenlight retrain {flag}", said)
    assert "params.yaml" not in said


YES = {"decision": "promote", "checks": []}
WHY = "the candidate is v1 again, which served and was rolled back from; to put it back: greenlight rollback --to v1"


def told(answer: Answer) -> str:
    return "\n".join(line for part in answer.views() for line in rendered(part, 400))


@pytest.mark.parametrize("outcome", ["KeptChampion", "Inconclusive"])
def test_a_candidate_that_was_kept_out_names_the_next_month(outcome: str) -> None:
    answer = Answer(outcome, "r", "page", 0, record={"as_of": "2013-12", "verdict": {"decision": "reject"}})
    assert "next month: greenlight retrain --as-of 2014-01" in told(answer)
    assert answer.to_json()["next"].endswith("--as-of 2014-01")


@pytest.mark.parametrize("outcome", ["Crashed", "Cancelled"])
def test_a_run_that_was_killed_says_that_another_is_safe(outcome: str) -> None:
    text = told(Answer(outcome, "exit status -9", "page", 1))
    assert "running it again is safe; the champion serves on" in text
    assert "Crashed" in CliRunner().invoke(app, ["retrain", "--help"]).stdout


def test_a_candidate_held_back_is_not_taken_for_one_that_failed() -> None:
    record = {"outcome": "KeptChampion", "reason": WHY, "verdict": YES, "as_of": "2013-07"}
    assert reason_text(record) == f"The gates said yes; held back because {WHY}"
    assert reason_text(record | {"verdict": {"decision": "reject"}}) == WHY


def rejection(file: str) -> dict[str, Any]:
    outcome = Outcome("temp_range", "weather", ("temp",), "0 to 110", "Fahrenheit", "stop", "broken", 9, 3)
    failure = Failure(
        "temp_range", "weather", ("temp",), "2013-04", file, "-9", "0 to 110", 3, 9, 0.33, (), "Fahrenheit", "stop"
    )
    return {"validation": ContractReport("flight_delay", ("2013-04",), (outcome,), (failure,), ()).to_json()}


@pytest.mark.parametrize("file", ["data/snapshot/weather/2013-04.parquet", ""])
def test_a_rejection_names_what_broke_and_the_file_to_mend(checkout: Path, file: str) -> None:
    project, record = open_project(Settings(root=checkout)), rejection(file)
    assert handed_in(project, record) == ()
    path = checkout / "data" / "incoming" / "weather" / "2013-04.parquet"
    path.parent.mkdir(parents=True)
    path.touch()
    (path.parent / "2013-05.parquet").touch()
    mend = handed_in(project, record)
    assert mend == ("data/incoming/weather/2013-04.parquet",)
    answer = Answer("DataRejected", "1 of 1 do not hold", "page", 3, record=record, mend=mend)
    assert "mend what was handed in, then greenlight retrain: data/incoming/weather/2013-04.parquet" in told(answer)
    (said,) = answer.to_json()["failures"]
    assert said["name"] == "temp_range"
    assert said["sentence"].startswith("weather.temp in 2013-04: -9, expected 0 to 110")


def test_an_error_and_a_headline_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(lambda _: None)

    def say(message: str, stage: str = "", level: int = 20) -> None:
        logger = "prefect.task_runs" if stage else "prefect.flow_runs"
        teller.on_log(LogLine("2026-11-01T02:00:00Z", level, logger, stage, message))

    say("validate: The data breaks it (0.8 s)", "validate")
    say("The data breaks it\n  x temp", "validate", 30)
    say("gate: Promote: all passed. (0.1 s)", "gate")
    say("Task run failed with exception: DvcError('a lock') - Retry 1/3 will start 2 second(s) from now", "record", 40)
    say("Task run failed with exception: DvcError('disk full') - Retries are exhausted", "record", 40)
    say("Task run failed with exception: KeyError('x')\nTraceback ...", "build", 40)
    say("disk full. Next: free space", level=40)
    say("another one", level=40)
    say("Finished in state Failed('disk full. Next: free space')", level=40)
    teller.tell_rest("r is v1, but was not released: disk full. Next: free space")
    text = capsys.readouterr().err
    assert text.count("The data breaks it") == 1
    assert text.count("x temp") == text.count("Promote") == text.count("another one") == 1
    assert "a lock" in text
    assert "Traceback" in text
    assert "disk full" not in text
