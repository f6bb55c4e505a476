"""Environments of the peers whose packages are not in Greenlight's lock: one each below ``.bench``, from a lock of
its own beside this file, made once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / ".bench"
TIMEOUT_S = 900


def python_of(peer: str) -> Path:
    """The interpreter of the environment of `peer`, installed when it is not there yet.

    Raises
    ------
    LookupError
        It could not be installed; the message is the installer's last line.
    """
    folder, lock = FOLDER / peer, HERE / f"{peer}.txt"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if stamp.is_file() and stamp.read_text() == lock.read_text():
        return python
    print(f"installing {peer} into {folder.relative_to(FOLDER.parent)} (once)", flush=True)
    _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder))
    uv = str(Path(sys.executable).with_name("uv"))
    _run(uv, "pip", "install", "--python", str(python), "--require-hashes", "--compile-bytecode", "-r", str(lock))
    stamp.write_text(lock.read_text())
    return python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise LookupError(str(exc)) from exc
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise LookupError(said[-1])
