#!/usr/bin/env bash
# Writes anew what the report takes from the program, so that nothing in it is copied by hand.
# Look at `git diff report` afterwards: the words around a changed excerpt may have to change too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

echo "== Excerpts of the source"
UPDATE_REPORT=1 cargo test --locked --quiet --test report every_excerpt_is_what_the_source_says
