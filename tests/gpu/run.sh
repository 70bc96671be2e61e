#!/bin/sh
# All that a GPU is needed for, in one command, for anyone who has one:
#
#     tests/gpu/run.sh [BUNDLE.diffad]
#
# Writes gpu-report/: machine.txt, tests.txt, build.txt, bench.txt and bench.json, and log.txt with all of it, to be
# pasted. Without a bundle one is made by 'diffad-edge demo' where torch is installed (a few minutes). PYTHON names the
# interpreter: python3 of the virtual environment that diffad-edge is installed in. Leaves with 1 where anything failed.
set -u
cd "$(dirname "$0")/../.." || exit 1

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
report=gpu-report
failed=0

# Output into a file of its own, and into the log; the command's own exit code stays.
keep() {
    file=$1
    shift
    printf '\n$ %s\n' "$*" >>"$report/log.txt"
    { "$@" 2>&1; echo $? >"$report/.code"; } | tee "$report/$file"
    cat "$report/$file" >>"$report/log.txt"
    return "$(cat "$report/.code")"
}

edge() { "$PYTHON" -m diffad_edge "$@"; }

machine() {
    date -u +%Y-%m-%dT%H:%MZ
    git log -1 --format='commit %h' 2>/dev/null
    uname -srm
    [ -r /proc/device-tree/model ] && tr -d '\0' </proc/device-tree/model && echo
    [ -r /etc/nv_tegra_release ] && head -n 1 /etc/nv_tegra_release
    command -v nvpmodel >/dev/null && nvpmodel -q 2>/dev/null
    command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    "$PYTHON" - <<'PYTHON_END'
import sys
from importlib import import_module, metadata
print("python", sys.version.split()[0])
for module, package in {"tensorrt": "", "pycuda": "pycuda", "cuda.bindings": "cuda-bindings", "numpy": "numpy"}.items():
    try:
        found = import_module(module)
        print(module, metadata.version(package) if package else found.__version__)
    except Exception as error:
        print(module, "is missing:", error)
try:
    from diffad_runtime.cuda.gpu import open_gpu
    print(open_gpu().facts)
except Exception as error:
    print("no GPU:", error)
PYTHON_END
}

if ! "$PYTHON" -c 'import diffad_edge'; then
    echo "diffad-edge is not installed for $PYTHON: name another one in PYTHON"
    exit 1
fi
if ! "$PYTHON" -c 'import pytest'; then
    echo "pytest is missing: $PYTHON -m pip install pytest onnx"
    exit 1
fi
mkdir -p $report
: >$report/log.txt
keep machine.txt machine

bundle=${1:-}
if [ -z "$bundle" ]; then
    bundle=$report/demo/model.diffad
    if [ ! -f $bundle ] && "$PYTHON" -c 'import torch' 2>/dev/null; then
        keep demo.txt edge demo --out $report/demo
    fi
    if [ ! -f $bundle ]; then
        echo "No bundle: name one, or make one on a workstation with 'diffad-edge demo'. Only the tests are run."
        bundle=
    fi
elif [ ! -f "$bundle" ]; then
    echo "There is no file $bundle"
    exit 2
fi

DIFFAD_GPU_CACHE=$PWD/$report/engines
export DIFFAD_GPU_CACHE
if [ -n "$bundle" ]; then
    DIFFAD_GPU_BUNDLE=$(realpath "$bundle")
    export DIFFAD_GPU_BUNDLE
fi
mkdir -p "$DIFFAD_GPU_CACHE"

keep tests.txt "$PYTHON" -m pytest -p no:cacheprovider -m gpu tests/gpu || failed=1
if [ -n "$bundle" ]; then
    variants=$("$PYTHON" -c '
import sys
from diffad_runtime.bundle import open_bundle
from diffad_runtime.engines.choice import runnable
print(",".join(runnable(open_bundle(sys.argv[1]), "tensorrt")))' "$bundle")
    keep build.txt edge build "$bundle" --variant "$variants" --cache "$DIFFAD_GPU_CACHE" || failed=1
    # Timed once: the table is made from the record.
    if "$PYTHON" -m diffad_edge bench "$bundle" --backend tensorrt --frame-size input --frames 500 \
        --cache "$DIFFAD_GPU_CACHE" --json >$report/bench.out 2>$report/bench.err; then
        tail -n 1 $report/bench.out >$report/bench.json
        keep bench.txt "$PYTHON" tests/gpu/latencies.py $report/bench.json || failed=1
    else
        keep bench.txt cat $report/bench.err
        failed=1
    fi
    rm -f $report/bench.out $report/bench.err
fi
rm -f $report/.code
echo
echo "All of it is in $report/log.txt"
exit $failed
