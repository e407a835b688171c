#!/usr/bin/env bash
# Looks at the board in a real browser (Chromium), and takes the picture of it that the README shows.
# Usage: scripts/board.sh [test | picture] [--write]     without `test` or `picture` it does both; --write replaces
#                                                       the README's picture, else it goes into a folder in /tmp
# Needs Chromium (Debian: `apt install chromium`); without it, it says so, and does nothing.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"
set -- "${words[@]}"
(($# <= 1)) && [[ ${1-both} =~ ^(both|test|picture)$ ]] || wrong "it does not know $*"

if [[ -z $(type -P chromium chromium-browser google-chrome google-chrome-stable) ]]; then
    echo "board.sh: skipped, there is no Chromium here (Debian: apt install chromium)"
    exit 0
fi

if [[ ${1-both} != picture ]]; then
    cargo test --locked --test main board::
fi
if [[ ${1-both} != test ]]; then
    picture=$root/report/figures/board.png
    [[ -n $write ]] || picture=$(mktemp -d /tmp/peerlab-measured.XXXXXX)/board.png
    BOARD_PICTURE=$picture cargo test --locked --quiet --test main -- --ignored --exact board::the_board_has_its_picture_taken
    # 128 colours are enough, and a third of the bytes.
    if type -P pngquant >/dev/null; then
        pngquant --force --skip-if-larger --ext .png 128 "$picture"
    fi
    echo "drawn: $picture, $(stat -c %s "$picture") bytes"
fi
