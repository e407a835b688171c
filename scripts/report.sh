#!/usr/bin/env bash
# Writes again what the report takes from the program, excerpts and transcripts, so that nothing is copied by hand.
# Look at `git diff` afterwards: the words around a changed excerpt may have to change too.
# Usage: scripts/report.sh [PAGE]...        the pages whose transcripts are run; all of report/ if none is named
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"
for page in "$@"; do
    [[ -f $page ]] || wrong "there is no page $page"
done
(($# > 0)) || set -- README.md report/*.md
filled=$work/filled

# Fills each `<!-- transcript: COMMAND -->` ... `<!-- end of transcript -->` of a page with what the command
# prints, run from the project's root.
fill_transcripts() {
    local page=$1 line command output
    while IFS= read -r line; do
        printf '%s\n' "$line"
        [[ $line =~ ^'<!-- transcript: '(.*)' -->'$ ]] || continue
        command=${BASH_REMATCH[1]}
        # Without the blank lines that it may begin with.
        output=$(bash -c "$command" </dev/null 2>&1 | sed '/./,$!d') || {
            printf '%s\nreport.sh: `%s` failed; %s is as it was\n' "$output" "$command" "$page" >&2
            exit 1
        }
        printf '```text\n%s\n```\n' "$output"
        until [[ $line == '<!-- end of transcript -->' ]]; do
            IFS= read -r line || { echo "report.sh: no end of the transcript of $command in $page" >&2; exit 1; }
        done
        printf '%s\n' "$line"
    done <"$page" >"$filled"
    cat "$filled" >"$page"
}

echo "== Excerpts of the source"
UPDATE_REPORT=1 cargo test --locked --quiet --test main every_excerpt_is_what_the_source_says

echo "== Transcripts"
for page in "$@"; do
    if grep -q '^<!-- transcript: ' "$page"; then
        echo "$page"
        fill_transcripts "$page"
    fi
done
