#!/usr/bin/env bash
# Measures how soon many small files are everywhere, and how soon deleted ones are back, beside the goals: 1,000 files
# of 10 kB put into one of three folders are on all peers within 15 s, 100 of them deleted are back within 12 s.
# And what a peer costs that has 10,000 files and nothing to do: under 1 % of a core.
# Usage: scripts/replication.sh [--no-build] [--write]     --write replaces report/data/replication.csv; without it the
#                                                         table goes into a folder of its own
#
# TMPDIR=/dev/shm measures without a disk, TMPDIR=/some/disk with one: each file is brought to it (fsync).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
set -- "${words[@]}"
[[ $* == "" || $* == --no-build ]] || wrong "it does not know $*"

files=1000 deleted=100 many=10000
table=$work/replication.csv
{
    echo "$(stamp), $(machine)"
    echo "# scripts/replication.sh: seconds until all of these files are there; percent of a core of a peer that has nothing to do"
    echo what,files,value
} >"$table"

# measured WHAT FILES VALUE UNIT GOAL: says it, and writes it into the table.
measured() {
    echo "$1: $3 $4 (goal: $5 $4)"
    echo "${1// /-},$2,$3" >>"$table"
}

# since T: seconds since the time T, with tenths.
since() {
    echo "$(date +%s%N) $1" | awk '{printf "%.1f", ($1 - $2) / 1e9}'
}

# all_have N PEER...: waits until each of these folders has N files.
all_have() {
    local n=$1 deadline=$((SECONDS + 100)) peer
    shift
    for peer in "$@"; do
        until [[ $(find "$work/$peer" -maxdepth 1 -type f | wc -l) -eq $n ]]; do
            if ((SECONDS > deadline)); then
                echo "$peer has $(find "$work/$peer" -maxdepth 1 -type f | wc -l) files instead of $n" >&2
                exit 1
            fi
            sleep 0.1
        done
    done
}

# cpu PID: what it has used so far, in hundredths of a second.
cpu() {
    awk '{print $14 + $15}' "/proc/$1/stat"
}

[[ "${1:-}" == --no-build ]] || build
start manager "$bin/manager" --listen 127.0.0.1:0
manager=$addr
peers=(ada ben cyd)
for peer in "${peers[@]}"; do
    start "$peer" "$bin/peer" --manager "$manager" --name "$peer" --data "$work/$peer" serve
done

heading "$files files of 10 kB are put into the folder of ada"
mkdir "$work/new"
head -c $((files * 10000)) /dev/urandom | (cd "$work/new" && split -b 10000 -a 4 - f)
cp "$work/new"/* "$work/ada/"
begun=$(date +%s%N)
all_have $files "${peers[@]}"
measured "on all peers" $files "$(since "$begun")" s 15
for peer in ben cyd; do
    diff -rq --exclude=.peerlab "$work/ada" "$work/$peer"
done

heading "$deleted of them are deleted in the folder of ben"
of_ben=("$work/ben"/*)
rm "${of_ben[@]:0:$deleted}"
begun=$(date +%s%N)
all_have $files ben
measured "back again" $deleted "$(since "$begun")" s 12
diff -rq --exclude=.peerlab "$work/ada" "$work/ben"

heading "a peer with $many files that has nothing to do"
mkdir "$work/dan"
for ((i = 0; i < many; i++)); do echo "$i" >"$work/dan/d$i"; done
start second "$bin/manager" --listen 127.0.0.1:0
second=$addr
start dan "$bin/peer" --manager "$second" --name dan --data "$work/dan" serve
deadline=$((SECONDS + 60))
until [[ $("$bin/peer" --manager "$second" files | wc -l) -eq $many ]]; do
    if ((SECONDS > deadline)); then
        echo "dan does not offer all of them" >&2
        exit 1
    fi
    sleep 0.5
done
sleep 2
before=$(cpu "$pid")
sleep 20
after=$(cpu "$pid")
used=$(awk -v a="$before" -v b="$after" -v hz="$(getconf CLK_TCK)" 'BEGIN {printf "%.2f", (b - a) / hz / 20 * 100}')
measured "idle" $many "$used" "% of a core" 1
keep "$table"
