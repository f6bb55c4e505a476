"""The commands around the edge's clients: who may ask, and playing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenlight.cli.here import here
from greenlight.cli.options import Json
from greenlight.cli.terminal import Group, answer_only, emit, say, show

if TYPE_CHECKING:
    from rich.console import RenderableType

PANEL = "Serve"
CLIENTS = """Say who may ask the edge, once `GREENLIGHT_CLIENT_KEYS=1` is set: each client has an API key of its own.

```sh
greenlight clients add billing         # shows the key, once
greenlight clients rotate billing      # a second key; both are valid
greenlight clients finish billing      # only the newer one is valid
greenlight clients revoke billing
```

The edge that runs takes each change at once, without a failed request.
"""
clients = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="markdown", help=CLIENTS)
Name = Annotated[str, typer.Argument(help="The client's name: a-z, 0-9, dot, underscore, dash.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the others."""
    app.command(rich_help_panel=PANEL)(traffic)
    app.add_typer(clients, name="clients", rich_help_panel=PANEL)


def traffic(
    period: Annotated[
        str,
        typer.Option(
            help="The month to play, such as 2013-09. Left out: the one after the holdout of what serves.",
            show_default=False,
        ),
    ] = "",
    rate: Annotated[float, typer.Option(min=0.01, max=5000, help="Requests a second, on average.")] = 20,
    duration: Annotated[float, typer.Option(min=0.1, max=604_800, help="Seconds.")] = 60,
    labels_after: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=604_800,
            metavar="SECONDS",
            help="Post each row's label so long after its answer. Left out: no labels.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="The column whose value is sent as the sticky key, such as tailnum.",
            show_default=False,
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Which rows of the month, at which moments.")] = 0,
    as_json: Json = False,
) -> None:
    """Play a month of the dataset against the edge as live requests, with labels that arrive late.

    Real rows of the source, each with what was known when it would have been asked, spread over the month and sent at
    random moments whether or not earlier ones were answered. They carry `x-greenlight-played: 1`, by which logs tell
    them from those of clients. Ctrl-C ends it with the summary. Exit status 1 when a request got no good answer.

    ```sh
    greenlight traffic
    greenlight traffic --period 2013-09 --rate 50 --duration 600 --labels-after 30 --key tailnum
    greenlight traffic --duration 10 --json | jq .latency_ms
    ```
    """
    from greenlight.operations import traffic as operation

    wish = operation.Wish(period, rate, duration, labels_after, key, seed)
    with answer_only():
        found = operation.play(here(), wish, log=say)
    if as_json:
        emit(found.to_json())
    else:
        for line in traffic_lines(found.to_json()):
            show(line)
    raise typer.Exit(found.exit_code)


def traffic_lines(found: dict[str, Any]) -> list[str]:
    """The summary for a person."""
    asked = f"{found['sent']:,} of {found['wanted']:,} requests of {found['period']} sent in {found['seconds']:g} s"
    lines = [f"{asked}{', stopped by Ctrl-C' if found['interrupted'] else ''}: {found['answered']:,} answered"]
    if found["latency_ms"]:
        values = ", ".join(f"{name} {value:g} ms" for name, value in found["latency_ms"].items())
        lines.append(f"latency: {values} (from when each was due; 99 % left within {found['lag_ms']:g} ms)")
    for version, count in found["versions"].items():
        lines.append(f"answered by {version}: {count:,} ({count / found['answered']:.1%})")
    lines += [f"error: {count:,} times {why}" for why, count in found["errors"].items()]
    if found["labels"]:
        lines.append("labels: " + ", ".join(f"{count:,} {name}" for name, count in found["labels"].items()))
    return lines + [f"note: {note}" for note in found["notes"]]


@clients.command()
def add(name: Name, as_json: Json = False) -> None:
    """Let a new client in; shows its key, once: nothing but the edge keeps it.

    ```sh
    greenlight clients add billing
    curl -H "authorization: Bearer $KEY" ...
    ```
    """
    _show_key(name, "add", as_json)


@clients.command()
def rotate(name: Name, as_json: Json = False) -> None:
    """Give a client a second key, shown once; the one before stays valid until `greenlight clients finish`.

    ```sh
    greenlight clients rotate billing
    ```
    """
    _show_key(name, "rotate", as_json)


@clients.command()
def finish(name: Name) -> None:
    """End a rotation: only the newest key of the client is valid from now on.

    ```sh
    greenlight clients finish billing
    ```
    """
    _told(name, "finish", "the older key is not valid any more")


@clients.command()
def revoke(name: Name) -> None:
    """Shut a client out: none of its keys is valid any more.

    ```sh
    greenlight clients revoke billing
    ```
    """
    _told(name, "revoke", "none of its keys is valid any more")


@clients.command(name="list")
def list_clients(as_json: Json = False) -> None:
    """List the clients with their keys: the first digits of each one's SHA-256, and when it was made.

    ```sh
    greenlight clients list
    ```
    """
    from greenlight.operations import clients as operation

    with answer_only():
        settings = here()
        found = [client.to_json() for client in operation.keys(settings).clients()]
        note = operation.note(settings)
    emit(found) if as_json else show(_table(found) if found else "no clients yet: greenlight clients add NAME")
    if note:
        say(note)


def _show_key(name: str, how: str, as_json: bool) -> None:
    from greenlight.operations import clients as operation

    with answer_only():
        settings = here()
        key = getattr(operation.keys(settings), how)(name)
        note = operation.note(settings)
    emit({"client": name, "key": key}) if as_json else show(key)
    say(f"the key of {name}, shown this once; send it as `authorization: Bearer <key>` or `x-api-key: <key>`")
    if how == "rotate":
        say(f"  next:  once {name} uses it everywhere: greenlight clients finish {name}")
    if note:
        say(note)


def _told(name: str, how: str, what: str) -> None:
    from greenlight.operations import clients as operation

    with answer_only():
        getattr(operation.keys(here()), how)(name)
    show(f"{name}: {what}")


def _table(found: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table("client", "key", "made")
    for client in found:
        for number, key in enumerate(client["keys"]):
            table.add_row("" if number else client["name"], key["id"], key["made"] or "not known")
    return table
