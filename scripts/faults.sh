#!/usr/bin/env bash
# What becomes of the promises when things fail? Each kind prints a table of CSV; what was broken is said in words,
# and the exit status is 1 then.
# Usage: scripts/faults.sh KIND [COUNT] [--write]     --write replaces the report's table, report/data/faults-KIND.csv
#        scripts/faults.sh planted [NAME] [--write]
#
#   KIND     COUNT is how many                                         without a count   the goal
#   kill     nodes are killed in transfers, copies, products, drops                 48       1000
#   pause    holders of leases, and downloads, are stopped past their time           6        100
#   restart  times the manager is restarted under 50 peers                          10        200
#   liars    times an honest user works beside each kind of hostile client           1          3
#   crowd    peers are at one manager                                              500       5000
#   flood    seconds memory may take to fall after each of ten floods                1         30
#   fifo     leases are granted in the order of their numbers                    50000    1000000
#   planted  faults of tests/planted, or the one of this name, are put into a      all        all
#            copy of the project, one at a time: the test that each names fails
#
# Without a count each takes under a minute if the promises are kept. FAULTS_SEED=N makes the same random choices again;
# FAULTS_ONLY=TEXT measures only floods and hostile clients with this text in their names. Nothing else should run on the
# machine meanwhile where times are measured (liars, crowd).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"
set -- "${words[@]}"
[[ $* =~ ^((kill|pause|restart|liars|crowd|flood|fifo)(\ [1-9][0-9]*)?|planted(\ [a-z-]+)?)$ ]] ||
    wrong "it does not know ${*:-a kind of nothing}"

# planted [NAME]: quick to build, slow to run: one test is small. What is built with a fault in it has a folder of its own.
planted() {
    local copy=$work/copy patches=() patch tests=() words test room began ms status=0
    patches=(tests/planted/${1:-*}.patch)
    [[ -e ${patches[0]} ]] || wrong "tests/planted has no fault $1"
    mkdir "$copy"
    cp -r Cargo.toml Cargo.lock src tests scripts "$copy/"
    [[ ! -e .cargo ]] || cp -r .cargo "$copy/"
    [[ ! -e vendor ]] || ln -s "$root/vendor" "$copy/"
    export CARGO_TARGET_DIR=${bin%/release}/planted CARGO_PROFILE_DEV_OPT_LEVEL=0
    export CARGO_TERM_COLOR=never CARGO_TERM_QUIET=false
    mapfile -t tests < <(sed -n 's/^Caught by: //p' "${patches[@]}" | sort -u)
    if ! passes "${tests[@]}" || ! grep -q "ok. ${#tests[@]} passed" "$work/run"; then
        echo "without a fault the tests that are to catch them do not all pass, or do not exist:" >&2
        tail -n 40 "$work/run" >&2
        return 1
    fi
    echo fault,room,caught_by,seconds
    for patch in "${patches[@]}"; do
        words=$(sed -n 's/^Fault: //p' "$patch") test=$(sed -n 's/^Caught by: //p' "$patch")
        room=$(sed -n 's|^+++ b/src/\(.*\)\.rs$|\1|p' "$patch")
        (cd "$copy" && GIT_DIR=/dev/null git apply "$root/$patch") || return 1
        if passes "$test"; then
            echo "${patch##*/}: $words. $test does not notice that" >&2
            status=1 test=nothing
        elif ! grep -qF "test $test ... FAILED" "$work/run"; then
            echo "${patch##*/}: $words. It does not build, or does not end: that is no catch" >&2
            tail -n 40 "$work/run" >&2
            status=1 test=nothing
        fi
        printf '%s,%s,%s,%d.%03d\n' "$(basename "$patch" .patch)" "${room%/mod}" "$test" $((ms / 1000)) $((ms % 1000))
        (cd "$copy" && GIT_DIR=/dev/null git apply -R "$root/$patch") || return 1
    done
    return "$status"
}

# passes TEST...: builds the copy and runs these tests; how long they ran is then in $ms. What was said is in $work/run.
passes() {
    local program
    (cd "$copy" && env -u RUSTFLAGS cargo test --locked --lib --no-run) >"$work/run" 2>&1 || return 1
    program=$(sed -n 's/^ *Executable [^(]*(\(.*\))$/\1/p' "$work/run")
    began=${EPOCHREALTIME/[.,]/}
    (cd "$copy" && timeout --foreground -k 5 300 "$program" --exact "$@") >"$work/run" 2>&1
    local failed=$?
    ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
    return "$failed"
}

table=$work/faults-$1.csv status=0
{
    echo "# $(date -u +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    if [[ $1 == planted ]]; then
        planted "${@:2}" || status=1
    else
        cargo bench --locked --quiet --bench faults -- "$@" || status=1
    fi
    echo "$status" >"$work/status"
} | tee "$table"
status=$(<"$work/status")
[[ -z $write ]] || keep "$table"
exit "$status"
