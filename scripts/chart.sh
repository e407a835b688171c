#!/usr/bin/env bash
# Draws the sequence chart of a run: a lane for each node, an arrow for each message, and when it was said.
# Usage: scripts/chart.sh OUT.svg [OPTION]... NODE.log...     the lanes stand in the order of the logs
#        scripts/chart.sh note NODE.log TEXT                  writes a note at this moment: "killed" breaks the lane
#
# First record the run. Each node logs every line on the wire, and its log has its name:
#
#     RUST_LOG=trace manager 2>>manager.log
#     RUST_LOG=trace peer --name ada serve 2>>ada.log
#     RUST_LOG=trace peer --name cyd multiply a.npy b.npy 2>>cyd.log
#     scripts/chart.sh run.svg manager.log cyd.log ada.log
#
# Or all in one file, by RUST_LOG=trace scripts/up.sh 2>>up.log. Nodes whose logs are missing have lanes, too, as far as the
# others spoke with them. Open the chart in a browser; the pointer on an arrow shows how long it was on its way.
#
# Options:
#   --from TIME, --to TIME     only what was said from then on, or before: seconds after the first message, such as 2.5,
#                              or a time as it stands in the logs
#   --only TYPE,..             only messages of these types: lease,wait,leased
#   --without TYPE,..          none of these types: peers,progress
#   --of NODE                  only what this node said or heard
#   --pings                    pings and their oks, too, and each wait: they are left out otherwise
#   --say TEXT                 log lines with this text are written beside their lane, such as --say joined
#   --title TEXT               what stands above the chart
set -euo pipefail
source "$(dirname "$0")/lib.sh"

if [[ ${1-} == note ]]; then
    (($# == 3)) || wrong "a note needs a log and a text"
    printf '[%s NOTE ] %s\n' "$(date -u +%FT%T.%6NZ)" "$3" >>"$2"
    exit
fi
logs=0 takes=
for word in "$@"; do
    case $takes$word in
    --from | --to | --only | --without | --of | --say | --title) takes=value: ;;
    --pings) ;;
    -*) wrong "it does not know $word" ;;
    value:*) takes= ;;
    *) logs=$((logs + 1)) ;;
    esac
done
((logs > 1)) && [[ -z $takes ]] || wrong "name the picture that is to be drawn, and the logs of its nodes"
[[ $1 == *.svg ]] || wrong "$1 is no name of a picture: it ends with .svg, and stands first"
cargo run --release --locked --quiet --manifest-path "$root/Cargo.toml" --example chart -- "$@"
