#!/usr/bin/env bash
# A network for a lab: a manager and three peers on this machine, until Ctrl-C.
# Usage: scripts/up.sh [manager's address, 127.0.0.1:7000 if absent]
set -euo pipefail
source "$(dirname "$0")/lib.sh"

manager=${1:-127.0.0.1:7000}
build
start manager env "RUST_LOG=${RUST_LOG:-info}" "$bin/manager" --listen "$manager"
manager=$addr
for name in ada ben cyd; do
    start "$name" "$bin/peer" serve --name "$name" --manager "$manager"
done
cat <<END

The manager listens on $manager; ada, ben and cyd serve four slots each.
See them in a browser: http://$manager/
Their shared folders are ./peerlab-ada, ./peerlab-ben and ./peerlab-cyd: put a file into one, and it appears in all.
Open a prompt in another terminal, and type \`help\` there:

    $bin/peer --manager $manager --name $(id -un)

Ctrl-C here ends all of them.
END
# Whatever ends first, ends all.
wait -n "${pids[@]}"
echo "a node has ended; stopping the others" >&2
exit 1
