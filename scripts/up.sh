#!/usr/bin/env bash
# A network for a lab: a manager and three peers on this machine, until Ctrl-C. It prints the board's address first, and
# then what to type in another terminal.
# Usage: scripts/up.sh [ADDRESS [OPTION]...]     where the manager listens, 127.0.0.1:7000 if absent, and more of
#                                               its options, such as --replicas 2; `manager --help` shows them
set -euo pipefail
source "$(dirname "$0")/lib.sh"
[[ ${1:-:} == *:* ]] || wrong "$1 is not an address: write a host and a port, such as 127.0.0.1:7000"

manager=${1:-127.0.0.1:7000}
names=(manager ada ben cyd)
build
secret "$PWD/peerlab-secret"
hint="; for another address: scripts/up.sh 127.0.0.1:7001"
start manager env "RUST_LOG=${RUST_LOG:-info}" "$bin/manager" --listen "$manager" "${@:2}"
hint=
manager=$addr
copies="appears in all"
[[ " ${*:2}" != *" --replicas"[\ =][0-9]* ]] || copies="is copied to as many as --replicas says"
echo
echo "The board, for a browser: http://$manager/"
for name in "${names[@]:1}"; do
    start "$name" "$bin/peer" serve --name "$name" --manager "$manager"
done
cat <<END

ada, ben and cyd serve four slots each. Their shared folders are ./peerlab-ada, ./peerlab-ben
and ./peerlab-cyd: a file that is put into one $copies.

Only programs that know the secret in ./peerlab-secret can join.

In another terminal, this makes \`peer\` a command that finds this network:

    export PATH="$bin:\$PATH" PEERLAB_MANAGER=$manager PEERLAB_SECRET_FILE="$PEERLAB_SECRET_FILE"

and this opens a prompt, where \`help\` shows the commands:

    peer --name $(id -un)

Ctrl-C here ends all of them.
END
# A node that ends, or that a lab kills, leaves the others as they are.
left=("${pids[@]}")
while ((${#left[@]})); do
    { wait -n "${left[@]}" || true; } 2>/dev/null
    for i in "${!left[@]}"; do
        kill -0 "${left[i]}" 2>/dev/null && continue
        echo "${names[i]} has ended; Ctrl-C ends the others" >&2
        unset "left[i]"
    done
done
echo "no node is left" >&2
exit 1
