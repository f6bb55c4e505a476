#!/usr/bin/env bash
# Resolve pyproject.toml into the lock: every package with its hashes, no registry host named.
# With --check: fail when the lock no longer satisfies pyproject.toml (offline: compares the inputs' hash).
set -euo pipefail
cd "$(dirname "$0")/.."
inputs=$(.venv/bin/python - <<'PY'
import hashlib, json, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
asked = {key: project.get(key) for key in ("requires-python", "dependencies", "optional-dependencies")}
print(hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16])
PY
)
if [ "${1:-}" = "--check" ]; then
  grep -q "^# inputs: $inputs$" requirements/all.txt ||
    { echo "requirements/all.txt was not made from this pyproject.toml. Next: make lock" >&2; exit 1; }
  exit 0
fi
compile() {
  .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --no-annotate "$@"
}
compile --all-extras pyproject.toml -o requirements/all.txt
{ echo "# Made by 'make lock' from pyproject.toml; do not edit."; echo "# inputs: $inputs"; cat requirements/all.txt; } > requirements/.new
mv requirements/.new requirements/all.txt
grep -E '^uv==' requirements/all.txt | sed 's/ .*//' > requirements/.uv.in
compile requirements/.uv.in -o requirements/bootstrap.txt
rm requirements/.uv.in
echo "locked $(grep -cE '^[A-Za-z0-9].*==' requirements/all.txt) packages"
