#!/usr/bin/env bash
# How long until N peers have a file? The lecture's two bounds (D1), and what this program needs, measured as a table
# and drawn as two figures.
# Usage: scripts/distribution.sh [--write]      all of it; --write replaces table and figures of the report, without
#                                               it they go into a folder in /tmp, whose name is said
#        scripts/distribution.sh --quick        swarm and churn for 3, 8 and 16 peers, once each
#        scripts/distribution.sh --one WAY N    one run; WAY is swarm, churn or client-server
#        scripts/distribution.sh riders [--write]
#                                               how one fares that gives nothing, among six or seven that do
#        scripts/distribution.sh --rounds       128 MiB with the rounds of choking ten times as fast
#        scripts/distribution.sh virtual [N] [--write]
#                                               swarms of up to N peers in virtual time, and up to 1000 of which some give
#                                               nothing; without N up to 10000. No program is started (see below)
#        scripts/distribution.sh virtual rules [--write]
#                                               what each rule is worth there, and how one fares that gives nothing
#
# One seed has 32 MiB and uploads 8 MiB/s; N peers want it and upload 4 MiB/s each. Three ways:
#   client-server   the peers serve nobody (--up 0): every copy comes from the seed
#   swarm           the peers pass on what they have, and stay
#   churn           the same, but a third of the peers leaves at the moment when its own file is whole (D5)
#
# For `riders` it is 20 MiB, 1 MiB/s for each, a seed of one or two, two places (`--unchoke 2`), and rounds ten times as
# fast; the last peer uploads nothing. Honest peers stay, or leave when they are done.
#
# A fair start: every peer is a prompt that reads its commands from a pipe. When all of them have joined, each
# is given the same line at the same moment; from then on the clock runs. The time is that of the last peer,
# when it says that its file is whole (verified, and on the disk, which is memory here: /dev/shm). So what is
# measured is the distribution, with all its messages, and not the start of N programs.
#
# In virtual time (tests/sim/swarm.rs) a swarm is the program's own picker, choker, uplink and ledger: 16 MiB, a seed of
# 2 MiB/s, peers of 1 MiB/s with 40 neighbours each on the average, and rounds of choking every second.
#
# All of it takes ten minutes, because one server needs long for 32 copies, and `riders` six. Nothing else should run
# meanwhile.
set -euo pipefail
[[ ! -w /dev/shm ]] || export TMPDIR=/dev/shm
source "$(dirname "$0")/lib.sh"
cd "$root"
set -- "${words[@]}"
[[ $* =~ ^((--quick|--rounds|riders)?|virtual(\ ([1-9][0-9]*|rules))?|--one\ (swarm|churn|client-server)\ [1-9][0-9]*)$ ]] || wrong "it does not know $*"

mib=32 seed_up=8MiB peer_up=4MiB swarm=(--time-scale 1)

# The lecture's bound for N peers in one of the three ways, in seconds.
bound() {
    local which=p2p
    [[ $1 != client-server ]] || which=client_server
    "$bin/peer" bounds --size "${mib}MiB" --seed-up "$seed_up" --peer-up "$peer_up" --peers "$2" --json |
        sed -E "s/.*\"$which\":\{[^}]*\"seconds\":([0-9.]+).*/\1/"
}

# from_pipe PIPE LOG PROGRAM ARG...: a program that reads its commands from a pipe, and tells its progress to a file.
from_pipe() {
    local pipe=$1 log=$2
    shift 2
    exec "$@" <"$pipe" 2>"$log"
}

# measure WAY N [rider]: one run, in a network of its own; a rider is one more. The time is in $seconds then, each
# peer's in `times`, what came twice in $twice.
measure() {
    local way=$1 peers=$2 rider=${3:-} up=$peer_up manager began i pipe fd done=0 at ends
    local folder="$work/$way-$peers" pipes=() outs=() lines=()
    [[ $way != client-server ]] || up=0
    [[ ! $rider ]] || peers=$((peers + 1))
    mkdir -p "$folder/seed"
    head -c "${mib}M" /dev/urandom >"$folder/seed/file.bin"
    pids=()
    # Nobody fetches before the start, and nobody for somebody else.
    start manager "$bin/manager" --listen 127.0.0.1:0 --replicas 0
    manager=$addr
    start seed "$bin/peer" serve --name seed --manager "$manager" --data "$folder/seed" \
        --up "$seed_up" "${swarm[@]}"
    for ((i = 1; i <= peers; i++)); do
        pipe="$folder/$i.in"
        mkfifo "$pipe"
        exec {fd}<>"$pipe"
        pipes+=("$fd")
        [[ ! $rider ]] || ((i < peers)) || up=0
        start "p$i" from_pipe "$pipe" "$folder/$i.log" "$bin/peer" --name "p$i" --manager "$manager" --data "$folder/$i" \
            --up "$up" "${swarm[@]}"
        outs+=("$work/p$i.ready")
        lines+=('down file.bin --json')
        [[ $way != leave ]] && { [[ $way != churn ]] || ((i > peers / 3)); } || lines[i - 1]+=$'\nquit'
    done
    until "$bin/peer" --manager "$manager" files --json | grep -q '"whole":true'; do sleep 0.05; done

    began=$EPOCHREALTIME
    for ((i = 0; i < peers; i++)); do
        printf '%s\n' "${lines[i]}" >&"${pipes[i]}"
    done
    ends=$((SECONDS + 30 + 3 * ${bound%.*}))
    sleep "$bound"
    until ((done == peers)); do
        sleep 0.1
        done=$(cat "${outs[@]}" | grep -c '"seconds"' || true)
        if ((SECONDS > ends)); then
            echo "$way with $peers peers: only $done of them have the file in time; the others said last:" >&2
            for i in $(grep -L '"seconds"' "${outs[@]}" | sed 's/.*p\([0-9]*\)\.ready$/\1/'); do
                tail -n 3 "$folder/$i.log" | sed "s/^/[p$i] /" >&2
            done
            exit 1
        fi
    done
    # Each has written its last line when its file was whole.
    times=()
    for at in $(stat -c %.6Y "${outs[@]}"); do
        times+=("$(awk "BEGIN { print ($at - $began) }")")
    done
    seconds=$(printf '%s\n' "${times[@]}" | sort -n | tail -n 1)
    twice=$(cat "${outs[@]}" | sed -nE 's/.*"duplicates":([0-9]+).*/\1/p' | awk '{ n += $1 } END { print n }')
    for fd in "${pipes[@]}"; do exec {fd}>&-; done
    finish "$folder"
}

# finish FOLDER: ends a run's nodes, and forgets its files.
finish() {
    kill -TERM "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
    rm -rf "$1"
}

# run_and_say WAY N RUN: one run, as a line for a person and a row of the table.
run_and_say() {
    local bound seconds twice
    bound=$(bound "$1" "$2")
    measure "$1" "$2"
    awk -v way="$1" -v n="$2" -v s="$seconds" -v b="$bound" -v twice="$twice" 'BEGIN {
        printf "%-14s %2d peers: %7.3f s, the bound is %7.3f s, ratio %.3f; %d pieces came twice\n", way, n, s, b, s / b, twice
    }' >&2
    printf '%s,%s,%s,%s,%s,%s\n' "$1" "$2" "$3" "$seconds" "$bound" "$twice"
}

# everything: each row of the table; what is short three times, in turn.
everything() {
    local run peers
    echo "$(stamp), $(machine)"
    echo "# scripts/distribution.sh: $mib MiB, seed $seed_up/s, peers $peer_up/s; churn: a third leaves when done"
    echo "way,peers,run,seconds,bound,twice"
    for run in 1 2 3; do
        for peers in 1 2 3 4 8 16 32; do
            run_and_say swarm "$peers" "$run"
            ((peers < 3)) || run_and_say churn "$peers" "$run"
        done
    done
    for peers in 1 2 4 8 16 32; do run_and_say client-server "$peers" 1; done
}

# riders: each row of that table.
riders() {
    local run setting way seed honest bound median without
    echo "$(stamp); scripts/distribution.sh riders"
    echo "who,seed,unchoke,honest,run,median,rider,without"
    mib=20 peer_up=1MiB swarm=(--time-scale 10 --unchoke 2)
    for run in 1 2 3; do
        for setting in "stay 1 6" "stay 2 7" "leave 2 7"; do
            read -r way seed honest <<<"$setting"
            seed_up=${seed}MiB
            bound=$(bound swarm "$honest")
            measure "$way" "$honest"
            without=$(printf '%s\n' "${times[@]}" | median)
            measure "$way" "$honest" rider
            median=$(printf '%s\n' "${times[@]:0:honest}" | median)
            echo "$way, seed of $seed MiB/s, $honest honest: median $median s, $without s without the rider, rider ${times[honest]} s" >&2
            echo "$way,$seed,2,$honest,$run,$median,${times[honest]},$without"
        done
    done
}

# The median of the numbers on standard input, one on each line.
median() {
    sort -n | awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'
}

# virtual N, or rules: swarms in virtual time, as two tables.
virtual() {
    local table test columns tables=(swarm-size swarm-riders)
    [[ $1 != rules ]] || tables=(swarm-rules free-riding)
    for table in "${tables[@]}"; do
        case $table in
        swarm-size) test=a_swarm_of_any_size_is_done_soon_after_the_bound columns=way,peers,seconds,median,bound,twice ;;
        swarm-riders) test=however_many_give_nothing_the_ledger_spares_the_honest columns=rules,percent,honest,rider ;;
        swarm-rules) test=every_rule_earns_its_place columns=without,share ;;
        free-riding) test=one_that_gives_nothing columns=who,seed,unchoke,honest,rules,rider,honest_cost ;;
        esac
        {
            echo "$(stamp); scripts/distribution.sh virtual $1"
            echo "$columns"
            PEERLAB_SWARM=${1/rules/1} cargo test --locked --quiet --lib "share::swarm::$test" -- --nocapture |
                sed -n "s/^$table,//p" | sort
        } >"$work/$table.csv"
        keep "$work/$table.csv"
    done
    cargo run --release --locked --quiet --features measure --example figures -- "$results"
}

if [[ ${1:-} == virtual ]]; then
    virtual "${2:-10000}"
    exit
fi
build

case ${1:-} in
"")
    everything >"$work/distribution.csv"
    keep "$work/distribution.csv"
    cargo run --release --locked --quiet --features measure --example figures -- "$results"
    ;;
--quick)
    for peers in 3 8 16; do
        run_and_say swarm "$peers" 1
        run_and_say churn "$peers" 1
    done
    ;;
--one) run_and_say "$2" "$3" 1 ;;
riders)
    riders >"$work/riders.csv"
    keep "$work/riders.csv"
    ;;
--rounds)
    mib=128 swarm=(--time-scale 10)
    for peers in 3 8 16; do run_and_say swarm "$peers" 1; done
    ;;
esac
