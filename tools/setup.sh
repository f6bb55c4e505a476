#!/usr/bin/env bash
# Create the virtual environment from the lock. uv installs in seconds; pip does the same more slowly where uv cannot
# reach its index (pip's own configuration, such as a company mirror, is not read by uv).
set -euo pipefail
python="$1" venv="$2"
started=$(date +%s)
# uv reads SSL_CERT_FILE and not pip's variable for a company's certificate.
if [ -z "${SSL_CERT_FILE:-}" ] && [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="$PIP_CERT"; fi
"$python" - <<'PY' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit(f"Greenlight needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
             "Next: make setup PYTHON=/path/to/python3.11")
PY
log="$venv/setup.log"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
: > "$log"
run() { "$@" >> "$log" 2>&1; }
echo "[setup] installing $(grep -cE '^[A-Za-z0-9].*==' requirements/all.txt) locked packages into $venv (log: $log)"
run "$venv/bin/python" -m pip install --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt ||
  { tail -5 "$log" >&2; echo "[setup] pip could not install uv. Next: check the network or pip's configuration." >&2; exit 1; }
if ! run "$venv/bin/uv" pip install --python "$venv/bin/python" --require-hashes --compile-bytecode -r requirements/all.txt; then
  echo "[setup] uv could not; trying pip, which reads your pip configuration (slower)"
  # The lock is complete; --no-deps keeps an older pip from resolving extras past it.
  run "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements/all.txt ||
    { tail -5 "$log" >&2; echo "[setup] the packages could not be installed. Next: read $log" >&2; exit 1; }
fi
run "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . ||
  { tail -5 "$log" >&2; exit 1; }
touch "$venv/.installed"
echo "[setup] done in $(( $(date +%s) - started )) s"
