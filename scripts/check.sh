#!/usr/bin/env bash
# Everything that must hold before a change is kept: form, lints, documentation, tests, and the demo.
# Needs a Rust toolchain with rustfmt and clippy. Stops at the first step that fails.
# Usage: scripts/check.sh
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"
(($# == 0)) || wrong "it takes no arguments"

# need COMMAND COMPONENT: a toolchain may have been installed without its optional parts.
need() {
    if ! $1 --version >/dev/null 2>&1; then
        echo "check.sh: \`$1\` does not run here; install it with \`rustup component add $2\`" \
            "(without rustup: from where your Rust came from), then run this again" >&2
        exit 1
    fi
}

if ! cargo --version >/dev/null 2>&1; then
    echo "check.sh: no \`cargo\` here; install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)" \
        "or newer, then run this again" >&2
    exit 1
fi
need "cargo fmt" rustfmt
need "cargo clippy" clippy

# Real clients of HTTP, with which the tests download. A test whose client is missing says so and passes.
missing=()
for client in curl wget aria2c python3; do
    command -v "$client" >/dev/null || missing+=("${client/aria2c/aria2}")
done
if ((${#missing[@]})) && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    heading "Clients for the tests: ${missing[*]}"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq "${missing[@]}"; } >/dev/null 2>&1 ||
        echo "they cannot be installed here; the tests that need them are passed over"
fi

heading "Form: cargo fmt"
cargo fmt --check

heading "Lints: cargo clippy"
cargo clippy --locked --all-targets --all-features -- -D warnings

heading "Crates: cargo deny"
if cargo deny --version >/dev/null 2>&1; then
    checks=(licenses bans sources)
    if cargo deny --config scripts/deny.toml fetch db >/dev/null 2>&1; then
        checks+=(advisories)
    else
        echo "the list of known holes (RustSec) cannot be fetched here: whether a crate has one is passed over"
    fi
    cargo deny --locked --config scripts/deny.toml check "${checks[@]}"
else
    echo "not installed (\`cargo install cargo-deny --locked\`): advisories, bans, and the crates of tests and measurements" \
        "are passed over; licences and sources of those of the two programs are looked at by a test"
fi

heading "Documentation: cargo doc"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

heading "Tests: cargo test"
cargo test --locked

heading "Demo: scripts/demo.sh"
scripts/demo.sh

heading "All is well."
