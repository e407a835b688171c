# What the scripts share: building, starting nodes and waiting until they are ready, leaving nothing behind.
# Source it after `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin="${CARGO_TARGET_DIR:-$root/target}/release"
case $bin in /*) ;; *) bin="$PWD/$bin" ;; esac
work=$(mktemp -d "${TMPDIR:-/tmp}/peerlab.XXXXXX")
pids=()
# Commands that take back what a script did to the machine, run when all nodes have ended, the last first.
undo=()

# Ends every node that was started, in order and the last first, and forgets its files.
leave() {
    local status=$? i
    trap - EXIT
    trap '' INT TERM
    # The youngest first, and each is gone before the next is told: a manager is older than its peers.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    for ((i = ${#undo[@]} - 1; i >= 0; i--)); do
        ${undo[i]} || true
    done
    rm -rf "$work"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Kills a node as a power cut would. The shell, which has to collect it, says nothing of that.
killed() {
    kill -9 "$1"
    { wait "$1" || true; } 2>/dev/null
}

heading() {
    printf '\n== %s\n' "$*"
}

# Shows a command as it would be typed, and runs it.
run() {
    printf '$ %s\n' "$*"
    "$@"
}

build() {
    (cd "$root" && cargo build --release --locked --quiet)
}

# start NAME PROGRAM ARG...: starts a node whose log lines are prefixed with its name, and waits until it
# says on stdout that it is ready. Its address is then in $addr, its process in $pid.
start() {
    local name=$1 out="$work/$1.ready"
    shift
    : >"$out"
    "$@" >"$out" 2> >(sed -u "s/^/[$name] /" >&2) &
    pid=$!
    pids+=("$pid")
    local deadline=$((SECONDS + 20))
    until [[ $(cat "$out") == *'}' ]]; do
        if ! kill -0 "$pid" 2>/dev/null || ((SECONDS > deadline)); then
            echo "$name did not get ready" >&2
            exit 1
        fi
        sleep 0.05
    done
    addr=$(sed -E 's/.*"addr":"([^"]*)".*/\1/' "$out")
}

# until_said FILE TEXT: waits until a file has a line with the text.
until_said() {
    local deadline=$((SECONDS + 20))
    until grep -qsF -- "$2" "$1"; do
        if ((SECONDS > deadline)); then
            echo "nobody said \"$2\" in $1:" >&2
            cat "$1" >&2
            exit 1
        fi
        sleep 0.05
    done
}
