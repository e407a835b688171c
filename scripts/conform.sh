#!/usr/bin/env bash
# Does another program speak the wire? Plays the golden dialogues of tests/golden with any program, in any language, in the
# place of the manager or of the peer, and says for each whether it holds, and where it does not.
# Usage: scripts/conform.sh manager -- COMMAND [ARG]...
#        scripts/conform.sh peer -- COMMAND [ARG]...
#
# The program is started in an empty folder, once or more for each dialogue, with options after the words of its command:
#   manager     --listen 127.0.0.1:0 and some of --quantum 60s, --ping 200ms, --dead-after 60s, --replicas all. When it
#               listens it prints a line of JSON on stdout: {"type":"ready","role":"manager","addr":"127.0.0.1:PORT"}
#   peer        --manager ADDR --name mine --slots N --data FOLDER (empty), in this order. It registers at ADDR with the
#               address at which it listens. The dialogue is the manager; nothing on stdout is read
# Words of the command that are files here may be relative. What is said to people need not have the words of the
# dialogue (`text`, `reason`, `events`); all else must be the same. A dialogue is given up when nothing comes for a minute.
#
# Example: scripts/conform.sh peer -- python3 report/peer.py
set -euo pipefail
source "$(dirname "$0")/lib.sh"
role=${1:-} dash=${2:-}
[[ $role == manager || $role == peer ]] || wrong "say whether the program is to be a manager or a peer"
[[ $dash == -- && $# -gt 2 ]] || wrong "the command is missing: write it after --"

command=
for word in "${@:3}"; do
    [[ ! -e $word || $word != */* ]] || word=$(realpath -s "$word")
    command+=$(printf '%q ' "$word")
done
export RUST_BACKTRACE=0 "PEERLAB_ANY_${role^^}=$command"

cd "$root"
names=()
for file in $(grep -l "^@$role" tests/golden/*.txt); do
    file=${file##*/}
    names+=("wire::${file%.txt}")
done
echo "building the tests; the first time it takes some minutes" >&2
cargo test --quiet --locked --test main --no-run
status=0
cargo test --locked --test main -- --exact "${names[@]}" >"$work/said" 2>"$work/errors" || status=$?
if ! grep -q '^test result' "$work/said"; then
    cat "$work/said" "$work/errors" >&2
    exit 1
fi
# A test that failed says where, in the lines after its name, and what the program itself said: the end of that is shown.
awk '
    /^test wire::.* (ok|FAILED)$/ { sub("wire::", ""); gsub("_", " ", $2); result[$2] = $NF; order[++n] = $2 }
    /^---- wire::/ { sub("wire::", ""); gsub("_", " ", $2); test = $2; next }
    /^thread .wire::/ { left = 3; next }
    /^note: / || /^$/ { left = 0 }
    /^---- any / { left = 0; said = test; next }
    said && /^    / { last[said, ++lines[said]] = substr($0, 5, 300); next }
    { said = "" }
    left-- > 0 { why[test] = why[test] "\n      " substr($0, 1, 300) }
    END {
        for (i = 1; i <= n; i++) {
            holds = result[order[i]] == "ok"
            printf "%s %s%s\n", holds ? "holds  " : "differs", order[i], holds ? "" : why[order[i]]
            held += holds
            for (line = lines[order[i]] - 5; !holds && ++line <= lines[order[i]];)
                if (line > 0) print "      it said: " last[order[i], line]
        }
        printf "%d of %d dialogues hold\n", held, n
    }' "$work/said"
exit "$((status != 0))"
