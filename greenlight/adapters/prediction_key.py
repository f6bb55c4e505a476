"""The secret of the keyed hashes that stand in the prediction log for private columns.

A module of its own, and a light one: whatever starts servers needs it, and not what reads the log.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from greenlight.core import prediction_record
from greenlight.core.prediction_files import FOLDER, KEY
from greenlight.errors import storage


def prediction_key(home: Path) -> Path:
    """The file with the secret of the keyed hashes, for this user's eyes only; made when it is not there.

    Whoever has the key can find out which of a few possible values a hash stands for; without it nobody can.
    """
    path = home / FOLDER / KEY
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = path.with_name(f".{KEY}.{os.getpid()}-{secrets.token_hex(4)}")
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(secrets.token_bytes(prediction_record.KEY_BYTES))
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(made, path)  # fails if another process was faster: its key counts
        except FileExistsError:
            pass
        finally:
            made.unlink()
    except OSError as exc:
        raise storage(exc) from exc
    return path
