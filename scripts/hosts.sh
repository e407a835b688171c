#!/usr/bin/env bash
# Several computers on one: a manager and three peers, each in a network namespace with an address of its own, on a
# switch with links of a limited rate. They multiply, a file is downloaded across the links, and a cable is pulled.
# Needs root. Leaves nothing behind. Where it cannot run it says why, and ends with status 0.
# Usage: sudo scripts/hosts.sh        RATE=20mbit DELAY=10ms sudo -E scripts/hosts.sh
set -euo pipefail
source "$(dirname "$0")/lib.sh"
(($# == 0)) || wrong "it takes no arguments"

rate=${RATE:-50mbit}
delay=${DELAY:-5ms}
# Namespaces of this run alone: another may go on beside it.
tag="peerlab$$"
hosts=(manager ada ben cyd)

skip() {
    echo "hosts.sh: skipped: $*" >&2
    exit 0
}

address() {
    case $1 in manager) echo 10.77.0.1 ;; ada) echo 10.77.0.11 ;; ben) echo 10.77.0.12 ;; cyd) echo 10.77.0.13 ;; esac
}

# on HOST COMMAND...: runs it there.
on() {
    local host=$1
    shift
    ip netns exec "$tag-$host" "$@"
}

# Shows a command as it would be typed on a host, and runs it there.
run_on() {
    printf '%s$ %s\n' "$1" "${*:2}"
    on "$@"
}

namespace() {
    ip netns add "$tag-$1" || return 1
    undo+=("ip netns del $tag-$1")
    ip -n "$tag-$1" link set lo up
}

# A host with one cable to the switch. What it sends is held to the rate at its end, what it is sent at the switch's.
plug_in() {
    local host=$1
    namespace "$host"
    ip -n "$tag-switch" link add "$host" type veth peer name eth0 netns "$tag-$host"
    ip -n "$tag-switch" link set "$host" master bridge up
    ip -n "$tag-$host" addr add "$(address "$host")/24" dev eth0
    ip -n "$tag-$host" link set eth0 up
    limit "$tag-$host" eth0
    limit "$tag-switch" "$host"
}

limit() {
    tc -n "$1" qdisc add dev "$2" root handle 1: tbf rate "$rate" burst 64kb latency 200ms
    [[ $delay == none ]] || tc -n "$1" qdisc add dev "$2" parent 1:1 handle 10: netem delay "$delay"
}

# until_true WHAT COMMAND...: repeats it until it succeeds.
until_true() {
    local deadline=$((SECONDS + 30)) what=$1
    shift
    until "$@"; do
        if ((SECONDS > deadline)); then
            echo "not within 30 seconds: $what" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# What a peer that only visits ben's computer is shown.
shown() {
    on ben "${visit[@]}" "$@" 2>/dev/null
}
film_is_offered() {
    shown files | grep -qF film.mkv
}
cyd_is_missed() {
    local peers
    peers=$(shown peers) && ! grep -qF "$(address cyd)" <<<"$peers"
}
cyd_is_back() {
    shown peers | grep -qF "$(address cyd)"
}

[[ $(id -u) == 0 ]] || skip "network namespaces need root; run \`sudo scripts/hosts.sh\`"
for tool in ip tc; do
    command -v "$tool" >/dev/null || skip "there is no \`$tool\` here; install iproute2"
done
namespace switch 2>"$work/why" || skip "this system lets nobody make network namespaces: $(cat "$work/why")"
ip -n "$tag-switch" link add bridge type bridge 2>"$work/why" || skip "this kernel has no bridge: $(cat "$work/why")"
ip -n "$tag-switch" link add veth0 type veth peer name veth1 2>"$work/why" ||
    skip "this kernel has no cables between namespaces (veth): $(cat "$work/why")"
ip -n "$tag-switch" link del veth0
ip -n "$tag-switch" link set bridge up
tc -n "$tag-switch" qdisc add dev lo root tbf rate 1mbit burst 64kb latency 1ms 2>"$work/why" ||
    skip "this kernel cannot limit a rate (tbf): $(cat "$work/why")"
delayed="a delay of $delay"
if ! tc -n "$tag-switch" qdisc replace dev lo root netem delay 1ms 2>"$work/why"; then
    delay=none delayed="no delay, because this kernel has no netem"
fi

heading "Building peerlab"
build
PATH="$bin:$PATH"
cd "$work"

heading "Four computers on a switch, with links of $rate each way and $delayed"
for host in "${hosts[@]}"; do
    plug_in "$host"
    echo "$host has the address $(address "$host")"
done

heading "A manager on the first, and a peer on each of the others"
# All share a disk here, and so the secret; computers of your own each need a copy of the file.
secret "$work/secret"
# Nobody copies without being asked here, so that it can be seen what one download takes.
start manager ip netns exec "$tag-manager" manager --listen "$(address manager):7000" --replicas 0
manager=$addr
mkdir ada
head -c 16777216 /dev/urandom >ada/film.mkv
for name in ada ben cyd; do
    start "$name" ip netns exec "$tag-$name" \
        peer serve --name "$name" --listen "$(address "$name"):0" --data "$work/$name" --manager "$manager"
    echo "$name listens on $addr"
done
# A peer that only visits says where others find it, too.
visit=(peer --listen 0.0.0.0:0 --manager "$manager" --data visitor --name visitor)
run_on ben "${visit[@]}" peers

heading "A product by seven slots on other computers"
run peer make a 800 --integers --seed 1
run peer make b 800 --integers --seed 2
run_on manager "${visit[@]}" multiply a.npy b.npy -o c.npy
run peer multiply a.npy b.npy -o local.npy --local
run cmp c.npy local.npy

heading "A file of 16 MiB from ada's computer to cyd's, over links of $rate"
until_true "film.mkv is offered" film_is_offered
mkdir there
began=$EPOCHREALTIME
run_on cyd "${visit[@]}" down film.mkv -o there
ended=$EPOCHREALTIME
run cmp ada/film.mkv there/film.mkv
awk -v s="$began" -v e="$ended" 'BEGIN { printf "%.2f s, %.1f Mbit/s with joining and leaving\n", e - s, 134.217728 / (e - s) }'

heading "cyd's cable is pulled, and plugged in again"
echo "\$ ip link set cyd down"
ip -n "$tag-switch" link set cyd down
until_true "the manager misses cyd" cyd_is_missed
echo "the manager has struck cyd off its list: silent for three seconds"
run_on ben "${visit[@]}" multiply a.npy b.npy -o c2.npy
run cmp c2.npy local.npy
echo "\$ ip link set cyd up"
ip -n "$tag-switch" link set cyd up
until_true "cyd is back" cyd_is_back
run_on ben "${visit[@]}" peers

heading "Everybody leaves in order"
