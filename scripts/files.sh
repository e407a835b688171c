#!/usr/bin/env bash
# How quick and how small is it with files? Prints what was measured beside the goals.
# Usage: scripts/files.sh [mirrors|swarm|memory|small]...
#        scripts/files.sh [--write]      all four, and a table of them: with --write it replaces
#        report/data/files.csv, without it goes into a folder in /tmp, whose name is said
#
#   mirrors   1 GiB from three holders, verified, beside aria2c --checksum from three nginx mirrors, and curl
#             from one without any check; in turn, medians of five, the whole command from its start to its end
#   swarm     one seed and three peers, 512 MiB, no limits: verified bytes a second in all
#   memory    the most that a seed and a downloader of a sparse file of 8 GiB ever had in memory (VmHWM)
#   small     1,000 files: `get` lists them; adding one, beside adding one where there are ten
#
# All files are in /dev/shm, so that no disk is measured: `memory` needs 9 GiB there. Without nginx and aria2c
# (on Debian: apt-get install nginx-light aria2 curl) the comparisons are left out. Takes two minutes.
set -euo pipefail
[[ ! -w /dev/shm ]] || export TMPDIR=/dev/shm
source "$(dirname "$0")/lib.sh"
cd "$root"
set -- "${words[@]}"
[[ $* =~ ^((mirrors|swarm|memory|small)\ ?)*$ ]] || wrong "it does not know $*"
[[ -z $write || $# == 0 ]] || wrong "--write is for the table of all four, so name none"

# row WHAT WHO RUN VALUE: a row of the table.
row() {
    printf '%s,%s,%s,%s\n' "$@" >>"$work/files.csv"
}

# median WHAT WHO: of what was measured.
median() {
    awk -F, -v what="$1" -v who="$2" '$1 == what && $2 == who { print $4 }' "$work/files.csv" | sort -g |
        awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

calc() {
    awk "BEGIN { printf \"%.5f\", $1 }"
}

# timed COMMAND ARG...: runs it in silence; its seconds are in $seconds then.
timed() {
    local began=$EPOCHREALTIME ended
    "$@" >"$work/timed.out" 2>"$work/timed.log" || {
        cat "$work/timed.log" >&2
        echo "failed: $*" >&2
        exit 1
    }
    ended=$EPOCHREALTIME
    seconds=$(calc "(${ended/./} - ${began/./}) / 1e6")
}

# network: a manager, for peers that fetch nothing unless they are told.
network() {
    start manager "$bin/manager" --listen 127.0.0.1:0 --replicas 0
    manager=$addr
}

# serving NAME: a peer that serves what lies in its folder.
serving() {
    start "$1" "$bin/peer" serve --name "$1" --manager "$manager" --data "$work/$1"
}

# prompt NAME: a peer that reads its commands from the pipe $work/NAME.in, and answers in $work/NAME.ready.
prompt() {
    mkfifo "$work/$1.in"
    exec {pipe}<>"$work/$1.in"
    start "$1" from_pipe "$1" "$bin/peer" --name "$1" --manager "$manager" --data "$work/$1"
}

from_pipe() {
    local name=$1
    shift
    exec "$@" <"$work/$name.in" 2>"$work/$name.log"
}

# holders FILE N: waits until so many have all of it.
holders() {
    local deadline=$((SECONDS + 60))
    until "$bin/peer" --manager "$manager" files --json | grep -o "{[^{]*\"file\":\"$1\".*" |
        grep -o '"whole":true' | awk -v n="$2" 'END { exit NR < n }'; do
        ((SECONDS < deadline)) || { echo "nobody offers $1" >&2; exit 1; }
        sleep 0.05
    done
}

# over: ends the network and forgets its files.
over() {
    kill -TERM "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
    find "$work" -mindepth 1 -maxdepth 1 ! -name files.csv -exec rm -rf {} +
}

mirrors() {
    local run name rivals=() sum port urls=() base=18180
    heading "1 GiB from three holders, verified"
    network
    mkdir -p "$work/"{ada,ben,cyd,www,got}
    head -c 1G /dev/urandom >"$work/www/big.bin"
    for name in ada ben cyd; do
        ln "$work/www/big.bin" "$work/$name/big.bin"
        serving "$name"
    done
    holders big.bin 3
    if [[ -n $(type -P nginx) && -n $(type -P aria2c) && -n $(type -P curl) ]]; then
        rivals=(aria2c curl)
        sum=$(sha256sum "$work/www/big.bin" | cut -d' ' -f1)
        {
            echo "daemon off; master_process on; worker_processes 3; pid $work/nginx.pid; error_log $work/nginx.log;"
            echo "events {} http { access_log off; sendfile on; tcp_nopush on;"
            for port in 1 2 3; do
                echo "server { listen 127.0.0.1:$((base + port)); root $work/www; }"
                urls+=("http://127.0.0.1:$((base + port))/big.bin")
            done
            echo "}"
        } >"$work/nginx.conf"
        chmod 755 "$work"
        nginx -c "$work/nginx.conf" -p "$work" 2>"$work/nginx.err" &
        pids+=($!)
        until curl -sIf "${urls[2]}" >"$work/curl.out"; do sleep 0.05; done
    else
        echo "nginx, aria2c or curl is not here: peerlab is measured alone"
    fi
    for run in 1 2 3 4 5; do
        timed "$bin/peer" --manager "$manager" down big.bin -o "$work/got" --json
        row mirrors peerlab "$run" "$seconds"
        row mirrors-inside peerlab "$run" "$(sed -E 's/.*"seconds":([0-9.e-]+).*/\1/' "$work/timed.out")"
        cmp "$work/got/big.bin" "$work/www/big.bin"
        rm -rf "$work/got" && mkdir "$work/got"
        [[ ${#rivals[@]} -gt 0 ]] || continue
        timed aria2c --quiet --no-conf --checksum="sha-256=$sum" --file-allocation=none --split=3 \
            --max-connection-per-server=1 --dir="$work/got" "${urls[@]}"
        row mirrors aria2c "$run" "$seconds"
        rm -rf "$work/got" && mkdir "$work/got"
        timed curl -sf -o "$work/got/big.bin" "${urls[0]}"
        row mirrors curl "$run" "$seconds"
        rm -f "$work/got/big.bin"
    done
    local own aria curl
    own=$(median mirrors peerlab)
    echo "peer down: $own s, inside of it the download itself: $(median mirrors-inside peerlab) s"
    if [[ ${#rivals[@]} -gt 0 ]]; then
        aria=$(median mirrors aria2c) curl=$(median mirrors curl)
        echo "aria2c --checksum: $aria s, so the ratio is $(calc "$own / $aria"); the goal is 0.5 at most"
        echo "curl: $curl s, so the ratio is $(calc "$own / $curl"); the goal is 1.5 at most"
    fi
    over
}

swarm() {
    local run name began at last out outs
    heading "One seed and three peers, 512 MiB, no limits"
    for run in 1 2 3; do
        network
        mkdir -p "$work/seed"
        head -c 512M /dev/urandom >"$work/seed/half.bin"
        serving seed
        local pipes=()
        outs=()
        for name in ada ben cyd; do
            prompt "$name"
            pipes+=("$pipe")
            outs+=("$work/$name.ready")
        done
        holders half.bin 1
        began=$EPOCHREALTIME
        for pipe in "${pipes[@]}"; do echo 'down half.bin --json' >&"$pipe"; done
        last=0
        for out in "${outs[@]}"; do
            until_said "$out" '"seconds"'
            at=$(stat -c %.6Y "$out")
            at=$((${at/./} - ${began/./}))
            ((at <= last)) || last=$at
        done
        row swarm peerlab "$run" "$(calc "3 * 512 * 1048576 / $last / 1e3")"
        for pipe in "${pipes[@]}"; do exec {pipe}>&-; done
        over
    done
    echo "$(median swarm peerlab) GB/s of verified data in all; the goal is 0.8 at least"
}

# most PID: the most memory that a process ever had, in MiB.
most() {
    awk '$1 == "VmHWM:" { printf "%.1f", $2 / 1024 }' "/proc/$1/status"
}

memory() {
    heading "A sparse file of 8 GiB"
    if (($(df --output=avail -k "$work" | tail -n 1) < 9 << 20)); then
        echo "there is no room for it in $work: left out"
        return
    fi
    network
    mkdir -p "$work/seed"
    truncate -s 8G "$work/seed/sparse.bin"
    serving seed
    local seed=$pid deadline=$((SECONDS + 200))
    holders sparse.bin 1
    prompt ada
    echo 'down sparse.bin --json' >&"$pipe"
    until grep -qs '"seconds"' "$work/ada.ready"; do
        ((SECONDS < deadline)) || { echo "it does not come" >&2; exit 1; }
        sleep 0.2
    done
    row memory seed 1 "$(most "$seed")"
    row memory downloader 1 "$(most "$pid")"
    echo "the seed had $(median memory seed) MiB at most, the downloader $(median memory downloader); the goal is under 64"
    exec {pipe}>&-
    over
}

# answered NAME COUNT COMMAND...: gives the peer NAME the lines, and waits for so many answers more than there
# were; what one took is in $seconds then.
answered() {
    local name=$1 count=$2 before began at deadline=$((SECONDS + 30))
    shift 2
    before=$(wc -l <"$work/$name.ready")
    began=$EPOCHREALTIME
    printf '%s\n' "$@" >&"$pipe"
    until (($(wc -l <"$work/$name.ready") >= before + count)); do
        ((SECONDS < deadline)) || { echo "$name does not answer" >&2; exit 1; }
        sleep 0.02
    done
    at=$(stat -c %.6Y "$work/$name.ready")
    seconds=$(calc "(${at/./} - ${began/./}) / 1e6 / $count")
}

# among COUNT: what it takes to add a file where there are so many, and to list them.
among() {
    local i run line lines
    network
    mkdir -p "$work/ada" "$work/new"
    for ((i = 1; i <= $1; i++)); do head -c 10000 /dev/urandom >"$work/ada/small-$i.bin"; done
    prompt ada
    until [[ $("$bin/peer" --manager "$manager" files | wc -l) == "$1" ]]; do sleep 0.05; done
    for run in 1 2 3 4 5; do
        lines=()
        for ((i = 1; i <= 100; i++)); do
            line="$work/new/new-$run-$i.bin"
            head -c 10000 /dev/urandom >"$line"
            lines+=("add $line --json")
        done
        answered ada 100 "${lines[@]}"
        row "add-$1" peerlab "$run" "$seconds"
    done
    exec {pipe}>&-
    prompt ben
    for run in 1 2 3 4 5; do
        mapfile -t lines < <(yes 'get --json' | head -n 20)
        answered ben 20 "${lines[@]}"
        row "get-$1" peerlab "$run" "$seconds"
        timed "$bin/peer" --manager "$manager" get
        row "get-$1" program "$run" "$seconds"
    done
    exec {pipe}>&-
    over
}

small() {
    heading "1,000 files of 10 kB"
    among 10
    among 1000
    echo "\`get\` at the prompt lists them in $(median get-1000 peerlab) s; the goal is under 0.2 s"
    echo "as a program of its own, which joins and leaves, in $(median get-1000 program) s"
    echo "adding one takes $(median add-1000 peerlab) s, where there are ten $(median add-10 peerlab) s; the goal is the same"
}

build
{
    echo "$(stamp), $(machine)"
    echo "# scripts/files.sh: seconds; swarm in GB/s; memory in MiB"
    echo "what,who,run,value"
} >"$work/files.csv"
for part in "${@:-mirrors swarm memory small}"; do
    for part in $part; do "$part"; done
done
if (($# > 0)); then
    grep -v '^#' "$work/files.csv" >&2
else
    keep "$work/files.csv"
fi
