"""S3-compatible storage, against a real S3 server over HTTP: docs/storage.md, followed to the letter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import retrain_kit as kit
import s3_kit
from retrain_kit import Recorded
from s3_kit import Store

from greenlight.adapters import machine
from greenlight.config import Settings
from greenlight.errors import DvcError
from greenlight.operations.doctor import examine
from greenlight.operations.reproduce import reproduce


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(key, raising=False)
    with s3_kit.serving(tmp_path) as found:
        yield found


def use(store: Store, root: Path) -> None:
    """Address committed, credentials beside it and out of Git."""
    (root / ".dvc" / "config").write_text(store.config())
    kit.git(root, "commit", "-q", "-a", "-m", "Keep runs in S3")
    (root / ".dvc" / "config.local").write_text(store.local_config())


def elsewhere(store: Store, root: Path, target: Path) -> Path:
    """A fresh clone with its own credentials; no cache, no runs."""
    kit.git(target.parent, "clone", "-q", str(root), str(target))
    (target / ".dvc" / "config.local").write_text(store.local_config())
    return target


def doctor(root: Path) -> tuple[str, str, str]:
    checks = examine(Settings(root=root)).checks
    return next((check.state, check.found, check.todo) for check in checks if check.name == "dvc remote")


def recorded_in(store: Store, recorded: Recorded, tmp_path: Path, *, good: bool) -> tuple[Path, str]:
    root = kit.copy(recorded, tmp_path / "repo").root
    use(store, root)
    if not good:
        kit.hand_in(root, "flights", "2013-04", kit.month("flights", "2013-04").drop("dest"))
    done = kit.retrain(kit.open_at(root))
    assert done.outcome == ("Promoted" if good else "DataRejected")
    assert "a-secret" not in kit.git(root, "show", done.commit)
    assert len([key for key in store.stored() if key.startswith("dvc/files/md5/")]) > 5
    return root, done.name


def test_a_run_of_bad_data_is_recorded_in_s3_and_comes_back_from_it(
    store: Store, recorded: Recorded, tmp_path: Path
) -> None:
    root, run = recorded_in(store, recorded, tmp_path, good=False)

    report = reproduce(kit.open_at(elsewhere(store, root, tmp_path / "elsewhere")), run)

    assert report.verdict == "identical", report.explanation


@pytest.mark.slow
def test_a_promoted_run_is_recorded_in_s3_and_comes_back_from_it(
    store: Store, recorded: Recorded, tmp_path: Path
) -> None:
    root, run = recorded_in(store, recorded, tmp_path, good=True)

    report = reproduce(kit.open_at(elsewhere(store, root, tmp_path / "elsewhere")), run)

    assert report.verdict == "identical", report.explanation


def test_doctor_takes_an_empty_bucket_for_what_it_is(store: Store, checkout: Path) -> None:
    use(store, checkout)

    state, found, _ = doctor(checkout)

    assert (state, f"s3://{store.bucket}/dvc can be listed" in found) == ("ok", True), found


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("ERROR: The path 'remote://s/' does not exist: runs/dvc", ""),
        (
            "ERROR: The path 'remote://s/' does not exist: The specified bucket does not exist: An error occurred",
            "The path 'remote://s/' does not exist: The specified bucket does not exist: An error occurred",
        ),
        (
            "ERROR: unexpected error - Unable to locate credentials\n\nHaving any troubles? Hit us up at",
            "Unable to locate credentials",
        ),
        ("Traceback\nboom", "boom"),
        ("", "it refuses"),
    ],
)
def test_what_dvc_says_of_a_remote_is_read(said: str, reason: str) -> None:
    assert machine.list_refusal(said) == reason


def test_a_run_without_credentials_says_where_they_belong(store: Store, recorded: Recorded, tmp_path: Path) -> None:
    root, run = recorded_in(store, recorded, tmp_path, good=False)
    clone = elsewhere(store, root, tmp_path / "elsewhere")
    config = (clone / ".dvc" / "config.local").read_text().splitlines()
    (clone / ".dvc" / "config.local").write_text("\n".join(line for line in config if "key" not in line) + "\n")

    with pytest.raises(DvcError, match="credentials") as told:
        reproduce(kit.open_at(clone), run)

    assert "docs/storage.md" in told.value.todo
    state, found, todo = doctor(clone)
    assert (state, "credentials" in found, "docs/storage.md" in todo) == ("fail", True, True), (found, todo)
