"""Prefect: what its processes need to know, whether its server is well, which deployments that server has.

Everything is asked over the server's REST API, because importing ``prefect`` costs a second or two that a
command line cannot spare; what only Prefect's own code can do (reading prefect.yaml, looking into flows) runs
as its command line in a process of its own. What becomes of one flow run is in
:mod:`greenlight.adapters.prefect_runs`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Collection
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from greenlight.errors import OrchestratorError

if TYPE_CHECKING:
    from greenlight.config import Settings

POOL = "greenlight"
LOG_INTERVAL_S = 0.5
POLL_S = 0.4
PATIENCE_S = 90.0  # the supervisor has a dead server back in about 10 s, on a busy machine in several times that


def environment(settings: Settings) -> dict[str, str]:
    """Variables that every Prefect process needs; merge them over ``os.environ``.

    Also carries the ``GREENLIGHT_*`` settings as they were resolved here, so that a flow started by the worker
    sees the same ones as the command that started the stack. The same from every shell: a difference would
    restart the worker under a run. Makes Prefect's home, because Prefect dies where its parents are missing.
    """
    home = settings.home / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    return {
        **{f"GREENLIGHT_{name.upper()}": str(value) for name, value in settings if value is not None},
        **_direct(settings),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_UI_URL": ui_url(settings),
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
        # A path, not an address: the pages then call whatever host and port they were loaded from.
        "PREFECT_SERVER_UI_API_URL": "/api",
        **QUIET,
        **QUICK,
        **LASTING,
    }


def _direct(settings: Settings) -> dict[str, str]:
    """Where a proxy is set: keep it away from the calls between Prefect's own processes."""
    if not any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
        return {}
    hosts = os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")).split(",")
    direct = ",".join(dict.fromkeys([*filter(None, hosts), "127.0.0.1", "localhost", settings.host]))
    return {"NO_PROXY": direct, "no_proxy": direct}


# Nothing leaves the machine, no advertising, no questions, no colour codes in log files.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # its pages call their maker before they have read that analytics is off
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_LOGGING_COLORS": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "greenlight",
}
# Defaults are made for many machines and long jobs: a run started by hand would wait 10 s to be seen.
QUICK = {
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": str(LOG_INTERVAL_S),
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
}
# What a killed process leaves behind must not block the next run, and DVC is the only cache.
LASTING = {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "60",
    "PREFECT_TASKS_DISABLE_CACHING": "true",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_CLIENT_MAX_RETRIES": "8",
}


def ui_url(settings: Settings) -> str:
    """Address of the pages of the Prefect server."""
    return settings.prefect_api_url.removesuffix("/api")


def is_healthy(settings: Settings, timeout_s: float = 2.0) -> bool:
    """Whether the server answers and says that it is well."""
    import httpx

    try:
        answer = httpx.get(f"{settings.prefect_api_url}/health", timeout=timeout_s, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.text == "true"


def register_deployments(settings: Settings, *, patience_s: float = PATIENCE_S) -> list[str]:
    """Make the work pool and every deployment of prefect.yaml known to a healthy server; safe to repeat.

    Nothing is registered again while prefect.yaml and the flows are what they were and the server still knows
    them: that saves two seconds of every ``greenlight up``, and a schedule that somebody paused in the UI
    stays paused.

    Parameters
    ----------
    patience_s : float
        How long a server may be silent, or answer that it cannot at the moment.

    Returns
    -------
    list of str
        Names as ``flow/deployment``, sorted.

    Raises
    ------
    OrchestratorError
        The server does not answer, or Prefect refuses prefect.yaml or a flow.
    """
    pool = {"name": POOL, "type": "process"}
    request_patiently(settings, "POST", "/work_pools/", pool, allow=(409,), patience_s=patience_s)
    note = settings.home / "prefect" / "deployed"
    fingerprint = _fingerprint(settings)
    names = _deployments(settings)
    if names and note.is_file() and note.read_text(encoding="utf-8") == f"{fingerprint} {' '.join(names)}":
        return names
    _deploy(settings)
    names = _deployments(settings)
    note.write_text(f"{fingerprint} {' '.join(names)}", encoding="utf-8")
    return names


def _fingerprint(settings: Settings) -> str:
    """Hash of everything that a deployment is made of; Prefect writes the checkout's place into its pull step."""
    files = [settings.root / "prefect.yaml", *sorted((settings.root / "flows").glob("*.py"))]
    parts = [str(settings.root).encode(), *(path.read_bytes() for path in files if path.is_file())]
    return sha256(b"\0".join(parts)).hexdigest()


def _deployments(settings: Settings) -> list[str]:
    ours = {"work_pools": {"name": {"any_": [POOL]}}}
    found = request_patiently(settings, "POST", "/deployments/filter", ours)
    flows = {flow["id"]: flow["name"] for flow in request_patiently(settings, "POST", "/flows/filter", {})}
    return sorted(f"{flows[item['flow_id']]}/{item['name']}" for item in found)


def _deploy(settings: Settings) -> None:
    """Run ``prefect deploy --all``: Prefect itself reads prefect.yaml, signatures and docstrings."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=settings.root,
        env={**os.environ, **environment(settings)},
        capture_output=True,
        text=True,
        timeout=settings.start_timeout_s,
    )
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        raise OrchestratorError(
            f"prefect.yaml could not be registered: {lines[-1] if lines else 'no output'}",
            where=str(settings.root / "prefect.yaml"),
            todo="run `prefect deploy --all` in the repository to see all of it",
        )


def request(
    settings: Settings,
    method: str,
    path: str,
    body: object = None,
    *,
    allow: Collection[int] = (),
    timeout_s: float = 10,
) -> Any:
    """One call of the server's REST API; returns the answer's JSON.

    Parameters
    ----------
    path : str
        Below ``/api``, with its leading slash.
    allow : collection of int
        Statuses of 400 and more whose answer the caller wants to read itself.

    Raises
    ------
    OrchestratorError
        No answer, or another status of 400 or more. ``retryable`` says that the server may be on its way
        back.
    """
    import httpx

    try:
        answer = httpx.request(method, settings.prefect_api_url + path, json=body, timeout=timeout_s, trust_env=False)
    except httpx.HTTPError as exc:
        what = f"no answer from the Prefect server: {exc or type(exc).__name__}"
        raise _passing(settings, what, "`greenlight up` starts it") from exc
    if answer.status_code >= 500:
        what = f"the Prefect server answered {answer.status_code} to {method} {path}: {answer.text[:300]}"
        raise _passing(settings, what, f"try again; if it stays so, read {settings.home / 'logs'}/prefect-server.log")
    if answer.status_code >= 400 and answer.status_code not in allow:
        raise OrchestratorError(
            f"the Prefect server answered {answer.status_code} to {method} {path}: {answer.text[:300]}",
            where=settings.prefect_api_url,
        )
    return answer.json() if answer.content else None


def request_patiently(
    settings: Settings,
    method: str,
    path: str,
    body: object = None,
    *,
    allow: Collection[int] = (),
    patience_s: float = PATIENCE_S,
) -> Any:
    """Like `request`, and asks again what waiting can mend: no answer, or a status of 500 and more.

    Only for calls that are safe to repeat. The server is one process over one SQLite file: a write that others make
    it wait for too long ends in a 503, ``database is locked``, and a moment later the same write passes.

    Raises
    ------
    OrchestratorError
        Still so after `patience_s` seconds, or a status from 400 to 499.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            return request(settings, method, path, body, allow=allow)
        except OrchestratorError as exc:
            if not exc.retryable or time.monotonic() >= until:
                raise
        time.sleep(POLL_S)


def _passing(settings: Settings, what: str, todo: str) -> OrchestratorError:
    error = OrchestratorError(what, where=settings.prefect_api_url, todo=todo)
    error.retryable = True
    return error
