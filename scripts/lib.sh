# What the scripts share: help, building, starting nodes and waiting until they are ready, leaving nothing behind.
# Source it after `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

script=$(cd "$(dirname "$0")" && pwd)/${0##*/}

# What --help prints: the comment at the top of the script.
usage() {
    sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "$script"
}

# wrong TEXT: the script was called in a way that it does not know.
wrong() {
    printf '%s: %s\n\n' "${0##*/}" "$*" >&2
    usage >&2
    exit 2
}

# Asking for help runs nothing, wherever it stands. A script that measures takes --write and `set -- "${words[@]}"`.
write= words=()
for word in "$@"; do
    case $word in
    --help | -h) usage && exit ;;
    --write) write=yes ;;
    *) words+=("$word") ;;
    esac
done

bin="${CARGO_TARGET_DIR:-$root/target}/release"
case $bin in /*) ;; *) bin="$PWD/$bin" ;; esac
work=$(mktemp -d "${TMPDIR:-/tmp}/peerlab.XXXXXX")
# Where what was measured goes; see `keep`.
results=
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

# Builds the programs. On a terminal it shows how far it is.
build() {
    local quiet=--quiet first=
    [[ ! -t 2 ]] || quiet=
    [[ -x $bin/peer ]] || first="; the first time it takes two to five minutes"
    if ! cargo --version >/dev/null 2>&1; then
        echo "${0##*/}: there is no \`cargo\` here: README.md says how to install Rust (\"Before you begin\")" >&2
        exit 1
    fi
    echo "building the programs into ${bin#"$root/"}$first"
    (cd "$root" && cargo build --release --locked ${quiet:+"$quiet"})
}

# secret FILE: all nodes and commands from now on have the secret in this file, which is made if it is not there.
secret() {
    export PEERLAB_SECRET_FILE=$1
    [[ -e $1 ]] || (umask 077 && head -c 32 /dev/urandom | base64 >"$1")
}

# What a table of measurements begins with: when, and of which version of the program. And on what machine.
stamp() {
    echo "# $(date -u +%F), commit $(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)"
}
machine() {
    echo "$(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
}

# keep FILE: with --write a measured table replaces that of the report. Without, it goes into a folder of its own, which
# stays. It is said where.
keep() {
    local how=
    if [[ -n $write ]]; then
        results=$root/report
    elif [[ -z $results ]]; then
        results=$(mktemp -d /tmp/peerlab-measured.XXXXXX)
        how="; --write replaces the report's tables"
    fi
    mkdir -p "$results/data"
    cp "$1" "$results/data/"
    echo "written: $results/data/${1##*/}$how" >&2
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
            echo "$name did not get ready${hint:-}" >&2
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
