#!/usr/bin/env bash
# Measures everything that the report gives figures for, in one go: the kernel, the product through the
# network, the leases. Prints ratios beside the goals.
# Usage: scripts/bench.sh [--quick] [--write]      --write replaces the tables in report/data; without it they go
#                                                 into a folder in /tmp, whose name is said
#
# NumPy and Dask are compared with where `python3 -m venv` works, Redis where there is a redis-server.
# Nothing else should run on the machine meanwhile; it takes a quarter of an hour.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"
set -- "${words[@]}"
[[ $* == "" || $* == --quick ]] || wrong "it does not know $*"

if python3 -m venv "$work/venv" 2>/dev/null &&
    "$work/venv/bin/pip" install --quiet numpy==2.4.6 'dask[array]==2026.8.0' distributed==2026.8.0; then
    export PEERLAB_PYTHON="$work/venv/bin/python"
else
    echo "no Python with NumPy and Dask can be made here: they are left out" >&2
fi

# measure NAME BENCH ARG...: a bench's CSV with where and when it was measured.
measure() {
    local name=$1 bench=$2
    shift 2
    heading "$name"
    { echo "$(stamp), $(machine)" && cargo bench --locked --quiet --features measure --bench "$bench" -- "$@"; } >"$work/$name.csv"
    keep "$work/$name.csv"
}

measure kernel kernel "$@"
measure multiply multiply "$@"
measure leases leases "$@"
