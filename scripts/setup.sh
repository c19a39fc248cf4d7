#!/bin/sh
# Set up .venv from the locks, build Horovod, resolve the Spark jars, find or build a lakeFS server: each once. Idempotent;
# says in one line what is missing.
set -eu

for candidate in python3.11 python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "missing: Python 3.11 (install the package python3.11, or put it on PATH)" >&2
    exit 2
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "missing: Python's venv module (install the package python3.11-venv)" >&2
    exit 2
fi

if [ ! -x .venv/bin/python ] || [ ! -x .venv/bin/uv ]; then
    echo "setting up .venv"
    "$python" -m venv .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.lock
fi
echo "installing what requirements.lock names"
.venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r requirements.lock
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
sh scripts/horovod.sh
echo "resolving the Spark jars (about 290 MB the first time), and archiving their classes for quick starts"
.venv/bin/python -m shelfmark.session
echo "finding a lakeFS server (built once with Go where there is none: about 3 minutes)"
.venv/bin/python -m shelfmark.lake.server
