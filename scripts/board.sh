#!/usr/bin/env bash
# Looks at the board in a real browser (Chromium), and takes the picture of it that the README shows.
# Usage: scripts/board.sh [test | picture]; without a word it does both.
# Needs Chromium (Debian: `apt install chromium`); without it, it says so, and does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -z $(type -P chromium chromium-browser google-chrome google-chrome-stable) ]]; then
    echo "board.sh: skipped, there is no Chromium here (Debian: apt install chromium)"
    exit 0
fi

case ${1-both} in
test | both) cargo test --locked --test main board:: ;;
picture) ;;
*) echo "usage: scripts/board.sh [test | picture]" >&2; exit 2 ;;
esac

case ${1-both} in
picture | both)
    picture=$PWD/report/figures/board.png
    BOARD_PICTURE=$picture cargo test --locked --quiet --test main -- --ignored board::picture
    # 128 colours are enough, and a third of the bytes.
    if type -P pngquant >/dev/null; then
        pngquant --force --skip-if-larger --ext .png 128 "$picture"
    fi
    echo "drawn: $picture, $(stat -c %s "$picture") bytes"
    ;;
esac
