"""The two streams: answers on stdout, everything else on stderr, and errors without tracebacks."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from greenlight.errors import STORAGE, ConfigError, GreenlightError, storage

if TYPE_CHECKING:
    from rich.console import Console

    from greenlight.adapters.tag_faults import Fault

INTERRUPTED = 130
PIPE_WIDTH = 160  # nobody wraps the lines of a file


@cache
def console(stderr: bool = False) -> Console:
    """The console of a stream: as wide as the terminal, and plain and wide where there is none."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, emoji=False)


def say(text: str, style: str = "") -> None:
    """One line for a person, on stderr; square brackets mean themselves."""
    console(stderr=True).print(text, style=style, markup=False, soft_wrap=True)


def show(renderable: Any, style: str = "") -> None:
    """An answer for a person, on stdout."""
    if isinstance(renderable, str):
        console().print(renderable, style=style, markup=False, soft_wrap=True)
    else:
        console().print(renderable, style=style)


def emit(document: Any) -> None:
    """An answer for a program, on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


@contextlib.contextmanager
def answer_only() -> Iterator[None]:
    """Send whatever operations and their tools print to stderr, so that stdout holds the answer alone."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # no stdout at all
        yield
        return
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


class Group(TyperGroup):
    """The commands; an error of ours becomes one message and its exit status, any other one line and a log."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command asked for."""
        try:
            return super().invoke(ctx)
        except GreenlightError as exc:
            report(exc)
            raise typer.Exit(exc.exit_code) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # `greenlight runs | head` is no mistake
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(0) from None
        except Exception as exc:
            if isinstance(exc, (typer.Exit, typer.Abort)) or hasattr(exc, "format_message"):  # Typer's own
                raise
            if isinstance(exc, OSError) and exc.errno in STORAGE:
                report(storage(exc))
                raise typer.Exit(1) from None
            say(f"error: {type(exc).__name__}: {first_line(exc)}", style="bold red")
            say(f"  this is a bug in Greenlight; the whole story is in {_write_log()}")
            raise typer.Exit(1) from None


def report(exc: GreenlightError) -> None:
    """An error of ours: what, where, what next."""
    say(f"error: {exc.what}", style="bold red")
    if exc.where:
        say(f"  where: {exc.where}")
    if exc.todo:
        say(f"  next:  {exc.todo}")


def tell_faults(faults: Iterable[Fault]) -> None:
    """Tags that somebody moved or deleted, each with what puts it back."""
    for fault in faults:
        say(f"warning: {fault.what}", style="yellow")
        say(f"  next:  {fault.todo}")


def first_line(exc: BaseException) -> str:
    """The first line of an exception's text."""
    return (str(exc).strip().splitlines() or [""])[0][:300]


def stopwatch() -> Callable[[], str]:
    """A clock that says how long ago it was made: ``0:07``."""
    begun = time.monotonic()

    def elapsed() -> str:
        seconds = int(time.monotonic() - begun)
        return f"{seconds // 60}:{seconds % 60:02d}"

    return elapsed


def _write_log() -> Path:
    """Append the current exception's traceback to the command line's log; returns the file."""
    from greenlight.config import Settings

    try:
        folder = Settings.load().home / "logs"
    except ConfigError:
        folder = Path(tempfile.gettempdir())
    path = folder / "cli.log"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(f"--- {stamp} {sys.argv}\n{traceback.format_exc()}\n")
    except OSError:
        traceback.print_exc()
    return path
