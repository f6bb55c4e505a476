"""The commands about signatures: ask whether a version is what was signed, and sign one anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from greenlight.cli import complete
from greenlight.cli.options import Json
from greenlight.cli.terminal import answer_only, emit, show

if TYPE_CHECKING:
    from greenlight.operations.provenance import Verification

VersionName = Annotated[
    str, typer.Argument(help="The version, such as v2.", autocompletion=complete.versions, show_default=False)
]


def verify(version: VersionName, as_json: Json = False) -> None:
    """Verify a version's signature: its model, its data hashes, its verdict, its bento.

    Names the key that signed, whether it is trusted, and every file that is not as it was signed (exit status 1).
    Needs neither the run's folder nor the bento; `docs/provenance.md` says what is signed and how to do it by hand.

    ```sh
    greenlight verify v1
    greenlight verify v1 --json | jq '.findings[] | select(.passed | not)'
    ```
    """
    from greenlight.operations import provenance
    from greenlight.wiring import open_project

    with answer_only():
        found = provenance.verify(open_project(), version)
    _answer(found, as_json)


def sign(version: VersionName, as_json: Json = False) -> None:
    """Sign a version with the present key: one from before signing, or one whose key is no longer trusted.

    A retrain signs what it registers; this is for after a change of keys. Refuses a version that is not what was signed
    before. Its bento is built again, with the new signature, by the next release.

    ```sh
    greenlight sign v1
    ```
    """
    from greenlight.operations import provenance
    from greenlight.wiring import open_project

    with answer_only():
        found = provenance.sign_again(open_project(), version)
    _answer(found, as_json)


def _answer(found: Verification, as_json: bool) -> None:
    from greenlight.cli.views import verify_views

    if as_json:
        emit(found.to_json())
    else:
        for part in verify_views(found.to_json()):
            show(part)
    raise typer.Exit(found.exit_code)
