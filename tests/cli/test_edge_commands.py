"""Clients and played traffic from the command line: what is shown, where, and with which exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import serving_kit as kit
from certificate_kit import certificate
from typer.testing import CliRunner, Result

from greenlight.adapters.client_keys import identity
from greenlight.cli.app import app
from greenlight.cli.traffic import traffic_lines
from greenlight.config import Settings
from greenlight.operations import edge_checks
from greenlight.operations.traffic import TrafficReport


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = kit.project(tmp_path / "project", 0)
    monkeypatch.chdir(made.root)
    return made


def run(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_a_key_is_shown_once_alone_on_stdout(project: Settings) -> None:
    added = run("clients", "add", "billing")
    key = added.stdout.strip()

    assert added.exit_code == 0
    assert key.startswith("gl_")
    assert len(key) > 40
    assert "shown this once" in added.stderr
    assert "GREENLIGHT_CLIENT_KEYS=1" in added.stderr
    listed = run("clients", "list")
    assert key not in listed.output
    assert identity(key) in listed.stdout
    second = json.loads(run("clients", "rotate", "billing", "--json").stdout)
    assert second["client"] == "billing"
    assert [len(client["keys"]) for client in json.loads(run("clients", "list", "--json").stdout)] == [2]
    assert run("clients", "finish", "billing").exit_code == 0
    (left,) = json.loads(run("clients", "list", "--json").stdout)
    assert [one["id"] for one in left["keys"]] == [identity(second["key"])]
    assert run("clients", "revoke", "billing").exit_code == 0
    assert "no clients yet" in run("clients", "list").stdout


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("clients", "revoke", "nobody"), 2, "no client 'nobody'"),
        (("clients", "add", "A B"), 2, "no name for a client"),
        (("traffic",), 1, "greenlight up"),
        (("traffic", "--rate", "0"), 2, "--rate"),
        (("traffic", "--duration", "-1"), 2, "--duration"),
    ],
)
def test_what_cannot_be_is_one_plain_message(project: Settings, args: tuple[str, ...], status: int, said: str) -> None:
    result = run(*args)

    assert result.exit_code == status
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_the_summary_names_what_happened() -> None:
    report = TrafficReport(
        period="2013-09", wanted=1200, sent=1000, answered=990, errors={"no connection": 10}, seconds=50.1,
        latency_ms={"p50": 2.0, "p95": 3.0, "p99": 9.5, "max": 20.0}, lag_ms=1.2, versions={"v2": 891, "v1": 99},
        labels={"posted": 3, "waiting": 2}, interrupted=True, notes=("a note",),
    )  # fmt: skip
    text = "\n".join(traffic_lines(report.to_json()))

    for part in (
        "1,000 of 1,200 requests of 2013-09", "Ctrl-C", "990 answered", "p99 9.5 ms", "v2: 891 (90.0%)",
        "10 times no connection", "3 posted, 2 waiting", "note: a note",
    ):  # fmt: skip
        assert part in text
    assert report.exit_code == 1


def test_doctor_warns_of_what_is_open_and_of_a_certificate_that_ends(tmp_path: Path) -> None:
    def states(**more: object) -> dict[str, str]:
        settings = Settings.model_validate({"root": tmp_path, "home": tmp_path, **more})
        return {check.name: check.state for check in edge_checks.examine(settings)}

    assert states()["clients"] == "ok"
    assert states(host="0.0.0.0") | {"user": ""} == {"clients": "warn", "tls": "warn", "user": ""}
    closed = states(host="0.0.0.0", client_keys=True, **certificate(tmp_path, "edge"))
    assert closed | {"user": ""} == {"certificate": "ok", "clients": "ok", "user": ""}
    assert states(**certificate(tmp_path, "short", days=10))["certificate"] == "warn"
