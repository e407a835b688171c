#!/usr/bin/env bash
# What becomes of the promises when things fail? Each kind prints a table of CSV; what was broken is said in words,
# and the exit status is 1 then.
# Usage: scripts/faults.sh KIND [COUNT] [--write]     --write replaces the report's table, report/data/faults-KIND.csv
#
#   KIND     COUNT is how many                                         without a count   the goal
#   kill     nodes are killed in transfers, copies, products, drops                 48       1000
#   pause    holders of leases, and downloads, are stopped past their time           6        100
#   restart  times the manager is restarted under 50 peers                          10        200
#   liars    times an honest user works beside each kind of hostile client           1          3
#   crowd    peers are at one manager                                              500       5000
#   flood    seconds memory may take to fall after each of ten floods                1         30
#   fifo     leases are granted in the order of their numbers                    50000    1000000
#
# Without a count each takes under a minute if the promises are kept. FAULTS_SEED=N makes the same random choices again;
# FAULTS_ONLY=TEXT measures only floods and hostile clients with this text in their names. Nothing else should run on the
# machine meanwhile where times are measured (liars, crowd).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"
set -- "${words[@]}"
[[ $* =~ ^(kill|pause|restart|liars|crowd|flood|fifo)(\ [1-9][0-9]*)?$ ]] || wrong "it does not know ${*:-a kind of nothing}"

table=$work/faults-$1.csv status=0
{
    echo "# $(date -u +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    cargo bench --locked --quiet --bench faults -- "$@" || status=1
    echo "$status" >"$work/status"
} | tee "$table"
status=$(<"$work/status")
[[ -z $write ]] || keep "$table"
exit "$status"
