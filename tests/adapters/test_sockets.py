"""The folder of the sockets, and HTTP over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenlight.adapters.sockets import LONGEST_NAME, MAX_PATH_BYTES, UnixHttp, runtime_dir
from greenlight.errors import ServerError


def test_short_home_keeps_its_sockets(tmp_path: Path) -> None:
    home = Path("/tmp") / f"gl-{tmp_path.name}"[:30]
    try:
        assert runtime_dir(home) == home / "run"
    finally:
        (home / "run").rmdir()
        home.rmdir()


def test_deep_home_gets_a_short_folder_of_its_own(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    folder = runtime_dir(deep)
    assert len(str(folder / ("s" * LONGEST_NAME))) <= MAX_PATH_BYTES
    assert folder == runtime_dir(deep) != runtime_dir(tmp_path / ("x" * 60) / ("z" * 60))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = runtime_dir(tmp_path / ("x" * 60) / ("w" * 60))
    folder.chmod(0o777)
    with pytest.raises(ServerError, match="mode 777"):
        runtime_dir(tmp_path / ("x" * 60) / ("w" * 60))
    folder.chmod(0o700)


def test_nobody_listening_is_an_oserror(tmp_path: Path) -> None:
    with UnixHttp(tmp_path / "none.sock") as client, pytest.raises(OSError, match="No such file"):
        client.request("GET", "/")
