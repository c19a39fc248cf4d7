#!/bin/sh
# Install Horovod into .venv: from a wheel that is built once for each version of Python and torch and kept in the cache.
# Called by setup.sh. Idempotent. Where it cannot be built it says so in one line and ends well: everything but
# `multimodal.launcher: horovod` works without it. For GPUs: HOROVOD_GPU_OPERATIONS=NCCL sh scripts/horovod.sh
# (docs/multimodal.md), which keeps a wheel of its own.
set -u

python=$(pwd)/.venv/bin/python
tools=$(pwd)/tools/horovod
kind=${HOROVOD_GPU_OPERATIONS:-gloo}
key=$("$python" - "$kind" <<'PYTHON'
import sys, torch
print(f"horovod-0.28.1-torch-{torch.__version__}-py{sys.version_info[0]}{sys.version_info[1]}-{sys.argv[1].lower()}")
PYTHON
) || { echo "without Horovod: torch is not installed in .venv" >&2; exit 0; }
kept=${SHELFMARK_CACHE:-$HOME/.cache/shelfmark}/$key

install() {
    "$python" - "$kept" <<'PYTHON' && return 0
import importlib.metadata, pathlib, sys
try:  # what is installed is that wheel: nothing to do
    note = pathlib.Path(importlib.metadata.distribution("horovod").locate_file("horovod")) / ".shelfmark"
    sys.exit(note.read_text() != sys.argv[1])
except Exception:
    sys.exit(1)
PYTHON
    .venv/bin/uv pip install -q --python "$python" --no-deps --no-index --reinstall-package horovod "$kept"/horovod-*.whl || return 1
    "$python" -c 'import horovod.torch' 2>/dev/null || return 1
    "$python" -c 'import horovod, pathlib, sys; (pathlib.Path(horovod.__file__).parent / ".shelfmark").write_text(sys.argv[1])' "$kept"
}

if [ -d "$kept" ]; then
    install && exit 0
    rm -rf "$kept"  # a wheel that does not load is built again
fi

for tool in c++ make; do
    command -v "$tool" >/dev/null 2>&1 || { echo "without Horovod: it is built with $tool, which is not on PATH" >&2; exit 0; }
done
echo "building Horovod for $key (once; 2 to 10 minutes)"
work=$(mktemp -d) || exit 0
trap 'rm -rf "$work"' EXIT
log=${TMPDIR:-/tmp}/shelfmark-horovod-build.$$.log
# Its build needs an old CMake and an old setuptools: an environment of its own, which sees the torch of .venv.
# torch's headers are C++17, Horovod asks its compiler for C++14: the last -std on the line counts.
printf '#!/bin/sh\nexec c++ "$@" -std=c++17\n' >"$work/cxx" && chmod +x "$work/cxx"
if {
    "$python" -m venv "$work/env" &&
        .venv/bin/uv pip install -q --python "$work/env/bin/python" --require-hashes -r "$tools/build.lock" &&
        "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
            >"$(echo "$work"/env/lib/python*/site-packages)/shelfmark.pth" &&
        PATH=$work/env/bin:$PATH CXX=$work/cxx MAKEFLAGS=-j${SHELFMARK_JOBS:-2} \
            HOROVOD_WITH_PYTORCH=1 HOROVOD_WITH_GLOO=1 \
            HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITHOUT_MPI=1 \
            "$work/env/bin/python" -m pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps \
            --require-hashes -r "$tools/horovod.lock" -w "$work/wheel"
} >"$log" 2>&1; then
    mkdir -p "$(dirname "$kept")"
    # Renamed into place: two set-ups at once leave one whole folder.
    rm -rf "$work/wheel/.tmp"; cp -r "$work/wheel" "$kept.$$" && mv -T "$kept.$$" "$kept" 2>/dev/null || rm -rf "$kept.$$"
    rm -f "$log"
    install || echo "without Horovod: the wheel in $kept does not load" >&2
else
    echo "without Horovod: it could not be built; what the build said: $log" >&2
fi
exit 0
