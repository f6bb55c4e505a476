"""One process of one version: the bento that this file is packed in, under uvicorn, on a unix socket.

Run as ``python -m bentos.classifier.server --socket <path>`` with the bento's ``src`` as working directory,
so that the code that answers is the code that was packed. How it is served stands here and not in the
service: the same bento runs under ``bentoml serve`` with BentoML's own defaults.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bentos.classifier import seal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# src/bentos/classifier/server.py -> src
SOURCES = Path(__file__).resolve().parents[2]
KEEP_ALIVE_S = 75
PR_SET_PDEATHSIG = 1
# A supervisor starts a server that ended at once; what is refused now is refused in a moment too.
REFUSED_PAUSE_S = 20
# Each of these costs about as much as a prediction, and each is there already: the edge logs and limits the time of
# every request and hands out its id, and the service counts for itself.
LEAN = {"tracing": {"excluded_urls": ".*"}, "logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}


def main() -> None:
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(description="Serve the bento that this file is packed in.")
    parser.add_argument("--socket", required=True, help="unix socket to listen on")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process ends")
    args = parser.parse_args()
    if args.with_parent:
        _end_with_parent()
    _refuse_other_code()
    # Before the imports that take most of the start, so that it runs beside them.
    checking = seal.begin(SOURCES)
    _serve(Path(args.socket), checking, pause_s=0 if args.with_parent else REFUSED_PAUSE_S)


def _require_seal(checking: subprocess.Popen[str], pause_s: float) -> None:
    """Do not serve what was altered after it was signed, or never was signed."""
    from bentos.classifier.scorer import packed_version

    try:
        sys.stderr.write(f"{seal.require(checking)}\n")
    except seal.Refused as exc:
        version = packed_version(SOURCES)
        sys.stderr.write(f"refused to serve {version}: {exc}; `greenlight verify {version}` explains\n")
        sys.stderr.flush()
        time.sleep(pause_s)
        sys.exit(1)


def _serve(socket: Path, checking: subprocess.Popen[str], pause_s: float) -> None:
    import bentoml
    import uvicorn
    from bentoml._internal.context import server_context

    bento = SOURCES.parent
    service = bentoml.load(str(bento))
    # Labels of BentoML's metrics; `bentoml serve` sets them the same way.
    server_context.service_name = service.name
    server_context.bento_name = service.bento.tag.name
    server_context.bento_version = service.bento.tag.version
    service.config.update(LEAN)
    _require_seal(checking, pause_s)
    socket.unlink(missing_ok=True)
    answering = front(service.to_asgi())
    endpoint = os.environ.get("GREENLIGHT_TRACING", "")
    if endpoint:
        from bentos.classifier.tracing import Tracer

        answering = Tracer(answering, endpoint, service.bento.tag.name, service.bento.tag.version)
    uvicorn.run(
        answering,
        uds=str(socket),
        loop="uvloop",
        http="bentos.classifier.one_write:OneWriteProtocol",  # httptools
        access_log=False,  # the edge logs every request
        log_level="info",
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=60,
    )


def front(whole: ASGIApp) -> ASGIApp:
    """`whole`, with predictions taken past BentoML's middleware.

    What is switched off in `LEAN` leaves layers around every request that do nothing and cost a fifth of it. The
    application behind them is the same; start, readiness, pages and everything else go through BentoML as usual.
    """
    from bentos.classifier.service import app

    predict, direct = app.state.predict, app.state.direct

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await whole(scope, receive, settled(send))
        elif scope["path"] == "/predict":
            await predict(scope, receive, send)
        else:
            await (direct(scope["path"]) or whole)(scope, receive, send)

    return serve


def settled(send: Send) -> Send:
    """`send`, which takes what is there when the start is complete out of the collection of garbage.

    What a server has loaded stays for its life; to look through it takes some 50 ms, in which nobody is answered.
    """

    async def passed_on(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            gc.freeze()
        await send(message)

    return passed_on


def _refuse_other_code() -> None:
    """An installed or checked-out package must not answer in the place of the packed one."""
    import greenlight

    found = Path(str(greenlight.__file__)).resolve()
    if SOURCES not in found.parents:
        sys.exit(f"greenlight comes from {found}, not from the bento {SOURCES}; start in the bento's src folder")


def _end_with_parent() -> None:
    """Ask the kernel for a signal when the parent ends, however it ends (Linux; elsewhere nothing)."""
    import ctypes

    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (AttributeError, OSError):
        return
    if os.getppid() != parent:
        sys.exit("the parent ended before this process began")


if __name__ == "__main__":
    main()
