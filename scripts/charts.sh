#!/usr/bin/env bash
# Runs the real programs in small scenes, and draws the sequence charts of the report from what they log.
# Usage: scripts/charts.sh [NAME]... [--write]     all of them if none is named: lease, lease-expires, peer-dies, download,
#                                                  drop-and-heal; --write replaces those in report/figures, without it
#                                                  they go into a folder of their own
set -euo pipefail
source "$(dirname "$0")/lib.sh"
set -- "${words[@]}"
for name in "$@"; do
    [[ $name =~ ^(lease|lease-expires|peer-dies|download|drop-and-heal)$ ]] || wrong "there is no chart $name"
done
(($#)) || set -- lease lease-expires peer-dies download drop-and-heal

build
PATH="$bin:$PATH"
figures=$root/report/figures
[[ -n $write ]] || figures=$(mktemp -d /tmp/peerlab-charts.XXXXXX)

# record NAME PROGRAM ARG...: starts a node that logs every line on the wire into NAME.log.
record() {
    start "$1" bash -c 'log=$1; shift; RUST_LOG=trace exec "$@" 2>>"$log"' record "$1.log" "${@:2}"
}

# recorded NAME ARG...: a peer of this name that does one thing, with its log in NAME.log, and what it says in NAME.out.
recorded() {
    RUST_LOG=trace peer --name "$1" --manager "$manager" "${@:2}" >"$1.out" 2>>"$1.log"
}

# prompt NAME ARG...: a peer at its prompt that serves nobody; `say NAME COMMAND` gives it something to do.
prompt() {
    mkfifo "$1.in"
    recorded "$@" --slots 0 <"$1.in" &
    pids+=($!)
    exec {prompts[$1]}>"$1.in"
    until_said manager.log "\"name\":\"$1\""
}
declare -A prompts

say() {
    echo "$2" >&"${prompts[$1]}"
}

# until_times N FILE TEXT: waits until a file has so many lines with the text.
until_times() {
    local deadline=$((SECONDS + 20))
    until [[ $(grep -c -- "$3" "$2") -ge $1 ]]; do
        ((SECONDS <= deadline)) || { echo "nobody said \"$3\" $1 times in $2" >&2; exit 1; }
        sleep 0.01
    done
}

# scene NAME: goes into a folder of its own.
scene() {
    echo "$1"
    mkdir "$work/$1"
    cd "$work/$1"
}

# now: this moment, as it stands in a log.
now() {
    date -u +%FT%T.%6NZ
}

# note NAME TEXT: what happens to this node, beside its lane.
note() {
    printf '[%s NOTE ] %s\n' "$(now)" "$2" >>"$1.log"
}

# draw NAME TITLE NODE... -- OPTION...: the chart of what was said since $from. What a peer says as it joins is not in it.
draw() {
    local out=$figures/$1.svg title=$2 logs=()
    shift 2
    while [[ $1 != -- ]]; do
        logs+=("$1.log")
        shift
    done
    "$root/scripts/chart.sh" "$out" --title "$title" --from "$from" --without peers,progress,registered "${@:2}" "${logs[@]}"
}

lease() {
    record manager manager --listen 127.0.0.1:0 --replicas 0
    manager=$addr
    record ada peer serve --name ada --manager "$manager" --slots 1
    record ben peer serve --name ben --manager "$manager" --slots 1
    run peer make a 900 --seed 1
    prompt cyd
    prompt dan
    from=$(now)
    say cyd 'lease 2'
    until_said cyd.out 'leased 2 slots'
    say dan 'multiply a.npy a.npy --levels 0 -o c.npy'
    until_said dan.log '"type":"wait"'
    say cyd 'release'
    until_said dan.log '"type":"released"'
    draw lease "Cyd holds two slots by hand; Dan multiplies when its turn comes" cyd dan manager ada ben --
}

lease_expires() {
    record manager manager --listen 127.0.0.1:0 --replicas 0 --quantum 2s
    manager=$addr
    record ada peer serve --name ada --manager "$manager" --slots 1
    record ben peer serve --name ben --manager "$manager" --slots 1
    prompt cyd
    prompt dan
    from=$(now)
    say cyd 'lease 2'
    # Nobody waits, so it is renewed. Then somebody does.
    until_times 2 ben.log '"type":"bind"'
    say dan 'lease 1'
    until_said dan.out 'leased 1 slot'
    until_said cyd.log '"type":"expired"'
    draw lease-expires "A lease is renewed while nobody waits, and expires when Dan does" cyd dan manager ada ben --
}

peer_dies() {
    record manager manager --listen 127.0.0.1:0 --replicas 0
    manager=$addr
    record ada peer serve --name ada --manager "$manager" --slots 1
    record ben peer serve --name ben --manager "$manager" --slots 1
    local ben=$pid
    run peer make a 2400 --seed 1
    prompt cyd
    from=$(now)
    say cyd 'multiply a.npy a.npy --slots 2 -o c.npy'
    # It has its second product in hand.
    until_times 2 ben.log '"type":"multiply".*"rows":1200'
    note ben "killed (kill -9)"
    killed "$ben"
    until_said cyd.log '"type":"released"'
    draw peer-dies "Ben is killed in the middle of a product; Ada does it" manager cyd ada ben --
}

download() {
    record manager manager --listen 127.0.0.1:0 --replicas 0
    manager=$addr
    head -c 512k /dev/urandom >film.bin
    # One place at random for one neighbour, and judged twenty times as often as usual.
    recorded gus --unchoke 0 --time-scale 20 --up 400kB add film.bin &
    pids+=($!)
    until_said gus.out pieces
    mkdir hal ida
    recorded hal down film.bin -o hal --stay &
    pids+=($!)
    until_said hal.log '"type":"piece","piece"'
    from=$(now)
    recorded ida down film.bin -o ida --stay &
    pids+=($!)
    until_said ida.out 'pieces from'
    # Until it says to the last that it wants nothing any more.
    local to
    to=$(sed -nE 's/^\[([^ ]*) .* > .*"on":false.*/\1/p' ida.log | tail -n 1)
    draw download "Ida downloads from Gus, and from Hal, which has a part" gus ida hal -- --of ida --to "$to" \
        --only join,bitfield,interested,choke,unchoke,request,piece,have
}

drop_and_heal() {
    record manager manager --listen 127.0.0.1:0 --replicas all
    manager=$addr
    record ada peer serve --name ada --manager "$manager" --scan 500ms
    record ben peer serve --name ben --manager "$manager" --scan 500ms
    echo "a note" >peerlab-ada/note.txt
    until_said peerlab-ben/note.txt note
    until peer --manager "$manager" files --health | grep -q ^whole; do sleep 0.1; done
    from=$(now)
    note ben "rm note.txt"
    rm peerlab-ben/note.txt
    until_said peerlab-ben/note.txt note
    until peer --manager "$manager" files --health | grep -q ^whole; do sleep 0.1; done
    kill "$pid" && wait "$pid"
    note ben "Ben leaves, with the file"
    recorded cyd drop note.txt
    until_said peerlab-ada/.peerlab/trash/note.txt note
    note ben "Ben is back"
    record ben peer serve --name ben --manager "$manager" --scan 500ms
    until_said peerlab-ben/.peerlab/trash/note.txt note
    draw drop-and-heal "What is deleted heals; what is dropped stays away" manager ada ben cyd -- --only \
        fetch,query,holders,update,updated,join,bitfield,request,piece,drop,dropped,error,register,quit
}

for name in "$@"; do
    scene "$name"
    "${name//-/_}"
done
echo "drawn into $figures"
