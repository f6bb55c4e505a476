"""What months and snapshots cost on disk: the DVC remote's growth month by month, and a second workspace's.

``make bench-storage``. Two measurements with the adapter that runs use, in a temporary folder:

- months: successive snapshots of real months, each with one month more, pushed one after the other; after every push
  the remote's new files are compared with the month's own files.
- links: a synthetic snapshot of several GB is laid into a second workspace, as a run does; disk use and seconds before
  and after. It is copied nowhere if the disk does not grow by it.

Writes ``benchmarks/results/storage.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from greenlight import datasets
from greenlight.adapters.dvc import CACHE_TYPES, Pipeline
from greenlight.adapters.git import Repository

RESULT = Path(__file__).resolve().parent / "results" / "storage.json"
MONTHS = ("2013-01", "2013-02", "2013-03", "2013-04", "2013-05", "2013-06")
SNAPSHOT = "data/snapshot"
KEEP_FREE_GB = 20.0
FILE_MB = 256
GIT = ("-c", "user.name=Bench", "-c", "user.email=bench@localhost")


def main() -> None:
    """Measure, print the tables, write the file."""
    parser = argparse.ArgumentParser(description="Bytes of a new month in the remote, and of a second workspace.")
    parser.add_argument("--gb", type=float, default=10.0, help="size of the synthetic snapshot")
    parser.add_argument("--folder", type=Path, help="where to work; the disk that runs would use")
    args = parser.parse_args()
    os.environ.update({"DVC_NO_ANALYTICS": "true"})
    with tempfile.TemporaryDirectory(prefix="gl-storage-", dir=args.folder, ignore_cleanup_errors=True) as scratch:
        os.environ["DVC_SITE_CACHE_DIR"] = str(Path(scratch) / "site")
        months = measure_months(Path(scratch) / "months")
        links = measure_links(Path(scratch) / "links", args.gb)
    show(months, links)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"months": months, "links": links}, indent=1) + "\n")


def workspace(home: Path, name: str) -> Pipeline:
    """A folder that DVC tracks files in, with the cache and the remote of `home`, as a run has it."""
    root = home / name
    (root / "data").mkdir(parents=True)
    for command in (["git", "init", "-q"], ["git", *GIT, "commit", "-q", "--allow-empty", "-m", "Start"]):
        subprocess.run(command, cwd=root, check=True)
    (root / ".dvc").mkdir()
    config = (
        "[core]\n    remote = local\n    analytics = false\n['remote \"local\"']\n    url = ../.greenlight/remote\n"
    )
    (root / ".dvc" / "config").write_text(config)
    pipeline = Pipeline(root)
    pipeline.configure(home / "cache", home / "remote", root)
    return pipeline


def measure_months(home: Path) -> dict[str, Any]:
    """Push snapshots that grow by a month, and weigh what each push added to the remote."""
    source = datasets.load("flight_delay").source
    pipeline = workspace(home, "workspace")
    folder = pipeline.root / SNAPSHOT
    rows, seen = [], dict[str, int]()
    for month in MONTHS:
        new = 0
        for table, frame in source.fetch(month).items():
            path = folder / table / f"{month}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(path)
            new += path.stat().st_size
        pipeline.add(SNAPSHOT)
        pipeline.push()
        files = {str(p): p.stat().st_size for p in (home / "remote").rglob("*") if p.is_file()}
        added = {name: size for name, size in files.items() if name not in seen}
        listing = sum(size for name, size in added.items() if name.endswith(".dir"))
        rows.append(
            {
                "month": month,
                "snapshot_bytes": sum(p.stat().st_size for p in folder.rglob("*.parquet")),
                "month_bytes": new,
                "remote_grew_bytes": sum(added.values()),
                "of_it_listing_bytes": listing,
                "files_added": len(added),
                "ratio": round((sum(added.values()) - listing) / new, 4),
            }
        )
        seen = files
    pipeline.close()
    return {"rows": rows}


def measure_links(home: Path, wanted_gb: float) -> dict[str, Any]:
    """Lay a big snapshot into a second workspace and see what the disk says."""
    home.mkdir(parents=True)
    free_gb = shutil.disk_usage(home).free / 1e9
    # Written once and moved into the cache: it takes its size once, and a copy that we look for a second time.
    gb = min(wanted_gb, (free_gb - KEEP_FREE_GB) / 2)
    if gb < 0.5:
        raise SystemExit(f"{free_gb:.1f} GB free; at least {KEEP_FREE_GB + 1:g} GB are needed for this measurement")
    first = workspace(home, "first")
    size = synthetic(first.root / SNAPSHOT, gb)
    began = time.monotonic()
    first.add(SNAPSHOT)
    add_s = time.monotonic() - began
    first.close()
    repository = Repository(first.root)
    repository.run("add", f"{SNAPSHOT}.dvc", "data/.gitignore")
    repository.run(*GIT, "commit", "-q", "-m", "Snapshot")

    second = workspace(home, "second")
    shutil.copy2(first.root / f"{SNAPSHOT}.dvc", second.root / f"{SNAPSHOT}.dvc")
    os.sync()
    before, began = used(home), time.monotonic()
    second.pull([f"{SNAPSHOT}.dvc"])
    seconds = time.monotonic() - began
    os.sync()
    grew = used(home) - before
    files = [p for p in (second.root / SNAPSHOT).rglob("*") if p.is_file()]
    linked = sum(p.is_symlink() or p.stat().st_nlink > 1 for p in files)
    second.close()
    copied = plain_copy(files[0], home / "copied")
    return {
        "snapshot_bytes": size,
        "files": len(files),
        "links": linked,
        "link_types_tried": CACHE_TYPES,
        "workspace_grew_bytes": grew,
        "share_of_snapshot": round(grew / size, 6),
        "lay_out_s": round(seconds, 2),
        "add_s": round(add_s, 2),
        "plain_copy_would_take_s": round(copied * size / files[0].stat().st_size, 2),
    }


def synthetic(folder: Path, gb: float) -> int:
    """Files of random bytes, which nothing can compress or share by itself; returns their size."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    count = max(1, round(gb * 1000 / FILE_MB))
    for number in range(count):
        with (folder / f"{number:04d}.parquet").open("wb") as out:
            for _ in range(FILE_MB // 32):
                out.write(rng.bytes(32_000_000))
    return sum(p.stat().st_size for p in folder.iterdir())


def plain_copy(file: Path, target: Path) -> float:
    """Seconds to copy one of the files."""
    began = time.monotonic()
    with file.open("rb") as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    seconds = time.monotonic() - began
    target.unlink()
    return seconds


def used(folder: Path) -> int:
    """Bytes that a folder takes up on disk, each file counted once however many names it has."""
    seen = {(s.st_dev, s.st_ino): s.st_blocks * 512 for p in folder.rglob("*") if (s := p.lstat())}
    return sum(seen.values())


def show(months: dict[str, Any], links: dict[str, Any]) -> None:
    """Print both tables."""
    print("\n| month   | snapshot kB | month's own kB | remote grew kB | of it listing kB | files | without listing |")
    print("|---------|------------:|---------------:|---------------:|-----------------:|------:|----------------:|")
    for row in months["rows"]:
        kb = [row[k] / 1e3 for k in ("snapshot_bytes", "month_bytes", "remote_grew_bytes", "of_it_listing_bytes")]
        print(f"| {row['month']} | {kb[0]:11.0f} | {kb[1]:14.0f} | {kb[2]:14.0f} | {kb[3]:16.1f} "
              f"| {row['files_added']:5} | {row['ratio']:13.2f} x |")  # fmt: skip
    size, grew = links["snapshot_bytes"] / 1e9, links["workspace_grew_bytes"] / 1e6
    print(f"\nA snapshot of {size:.1f} GB in {links['files']} files, laid into a second workspace: the disk grew by "
          f"{grew:.2f} MB in {links['lay_out_s']:.1f} s; {links['links']} files are links. A plain copy would "
          f"take about {links['plain_copy_would_take_s']:.0f} s.")  # fmt: skip
    print("written: benchmarks/results/storage.json")


if __name__ == "__main__":
    main()
