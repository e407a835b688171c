#!/usr/bin/env bash
# What becomes of the promises when things fail? Each kind prints a table of CSV; what was broken is said in words,
# and the exit status is 1 then.
# Usage: scripts/faults.sh KIND [COUNT] [--write]     --write replaces the report's table, report/data/faults-KIND.csv
#        scripts/faults.sh planted [NAME] [--write]
#
#   KIND     COUNT is how many                                         without a count   the goal
#   kill     nodes are killed in transfers, copies, products, drops                 48       1000
#   pause    holders of leases, and downloads, are stopped past their time           6        100
#   restart  times the manager is restarted under 50 peers                          10        200
#   liars    times an honest user works beside each kind of hostile client           1          3
#   crowd    peers are at one manager                                              500       5000
#   flood    seconds memory may take to fall after each of ten floods                1         30
#   fifo     leases are granted in the order of their numbers                    50000    1000000
#   sim      schedules of a simulated network, in virtual time                    1000    1000000
#   calls    system calls of programs fail, each once                               48       1000
#   fuzz     inputs of all kinds are made up, by `cargo fuzz` (tests/fuzz)      1000000  100000000
#   planted  faults of tests/planted, or the one of this name, are put into a      all        all
#            copy of the project, one at a time: the test that each names fails
#
# Without a count each takes under a minute, calls and fuzz a few, if the promises are kept and it is built. FAULTS_SEED=N
# makes the same random choices again; FAULTS_ONLY=TEXT measures only floods and hostile clients with this text in their
# names. Nothing else should run on the machine meanwhile where times are measured (liars, crowd). SIM_SEED=N plays that
# schedule alone; one that fails is shrunk. Its chart, what its board showed and the logs of its nodes are left in a
# folder that is named.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"
set -- "${words[@]}"
[[ $* =~ ^((kill|pause|restart|liars|crowd|flood|fifo|sim|calls|fuzz)(\ [1-9][0-9]*)?|planted(\ [a-z-]+)?)$ ]] ||
    wrong "it does not know ${*:-a kind of nothing}"

# sim TEST: a test of the simulated network, which is a part of the library's.
sim() {
    cargo test --locked --quiet --release --lib --no-run >&2 || return 1
    cargo test --locked --quiet --release --lib "sim::tests::$1" -- --ignored --nocapture --exact 2>/dev/null |
        grep -E '^(schedules,|seed |it also | *[0-9]+[, ])'
    return "${PIPESTATUS[0]}"
}

# story SEED: plays one schedule, shrinks it if it fails, draws its chart, and records its board.
story() {
    local folder status=0
    folder=$(mktemp -d "${TMPDIR:-/tmp}/peerlab-sim-$1.XXXXXX")
    SIM_SEED=$1 SIM_STORY=$folder sim one >&2 || status=1
    [[ ! -e $folder/manager.log ]] ||
        scripts/chart.sh "$folder/chart.svg" --title "seed $1" "$folder/manager.log" "$folder"/[^m]*.log >&2
    echo "its story is in $folder" >&2
    return "$status"
}

# play COUNT: plays schedules, and tells the story of the first that fails.
play() {
    local status=0
    [[ -z ${SIM_SEED-} ]] || { story "$SIM_SEED"; return; }
    SIM_COUNT=${1:-1000} sim many | tee "$work/sim" || status=1
    seed=$(sed -n 's/^seed \([0-9]*\):.*/\1/p' "$work/sim" | head -n 1)
    [[ -z $seed ]] || story "$seed" || status=1
    return "$status"
}

# fuzz COUNT: so many inputs, shared out over the folders of tests/fuzz/corpus. What is told apart on the way is kept in
# target/fuzz/corpus, for the next time; what breaks a promise in target/fuzz/found.
fuzz() {
    local target=${CARGO_TARGET_DIR:-$root/target}/fuzz log=$work/fuzz.log broken=0 kinds=0 left=$1 name
    if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
        echo "faults.sh: \`cargo +nightly fuzz\` does not run here; install it with \`rustup toolchain install nightly\`" \
            "and \`cargo install cargo-fuzz\`, then run this again" >&2
        return 1
    fi
    said() { sed -n "s/^stat::$1: *//p" "$log"; }
    # Without a sanitizer: safe code has no use for it, and the memory that is measured is that of the program.
    cargo +nightly fuzz build --fuzz-dir tests/fuzz --target-dir "$target" --sanitizer none input >"$log" 2>&1 ||
        { cat "$log" >&2 && return 1; }
    # A copy: the sources may change while it runs.
    cp "$target"/*/release/input "$work/"
    echo "input,runs,seconds,crashes,peak_mib"
    # The grammar of the prompt is made once a line, which takes a hundred times as long as all the rest.
    local share=$((left / 500)) names
    mapfile -t names < <(cd tests/fuzz/corpus && printf '%s\n' prompt * | awk '!seen[$0]++')
    for name in "${names[@]}"; do
        local crashes=0 began=$SECONDS
        mkdir -p "$target/corpus/$name" "$target/found"
        INPUT=$name "$work/input" "$target/corpus/$name" "tests/fuzz/corpus/$name" -runs="$share" -max_len=4096 \
            -timeout=5 -rss_limit_mb=64 -print_final_stats=1 -artifact_prefix="$target/found/$name-" \
            >/dev/null 2>"$log" || {
            crashes=1 broken=1
            grep -a -A2 'panicked at\|^Error\|ERROR: libFuzzer\|Test unit written' "$log" >&2 || cat "$log" >&2
        }
        echo "$name,$(said number_of_executed_units),$((SECONDS - began)),$crashes,$(said peak_rss_mb)"
        ((left -= share, kinds += 1))
        ((kinds == ${#names[@]})) || share=$((left / (${#names[@]} - kinds)))
    done
    return "$broken"
}

# planted [NAME]: quick to build, slow to run: one test is small. What is built with a fault in it has a folder of its own.
# Of the rooms that the simulated network has, sixty schedules are played as well: so many of them see the fault.
planted() {
    local copy=$work/copy patches=() patch tests=() words test room program began ms status=0
    patches=(tests/planted/${1:-*}.patch)
    [[ -e ${patches[0]} ]] || wrong "tests/planted has no fault $1"
    mkdir "$copy"
    cp -r Cargo.toml Cargo.lock src tests scripts "$copy/"
    [[ ! -e .cargo ]] || cp -r .cargo "$copy/"
    [[ ! -e vendor ]] || ln -s "$root/vendor" "$copy/"
    export CARGO_TARGET_DIR=${bin%/release}/planted CARGO_PROFILE_DEV_OPT_LEVEL=0
    export CARGO_TERM_COLOR=never CARGO_TERM_QUIET=false
    mapfile -t tests < <(sed -n 's/^Caught by: //p' "${patches[@]}" | sort -u)
    if ! passes "${tests[@]}" || ! grep -q "ok. ${#tests[@]} passed" "$work/run"; then
        echo "without a fault the tests that are to catch them do not all pass, or do not exist:" >&2
        tail -n 40 "$work/run" >&2
        return 1
    fi
    echo fault,room,caught_by,seconds,schedules_of_60
    for patch in "${patches[@]}"; do
        words=$(sed -n 's/^Fault: //p' "$patch") test=$(sed -n 's/^Caught by: //p' "$patch")
        room=$(sed -n 's|^+++ b/src/\(.*\)\.rs$|\1|p' "$patch")
        (cd "$copy" && GIT_DIR=/dev/null git apply "$root/$patch") || return 1
        if passes "$test"; then
            echo "${patch##*/}: $words. $test does not notice that" >&2
            status=1 test=nothing
        elif ! grep -qF "test $test ... FAILED" "$work/run"; then
            echo "${patch##*/}: $words. It does not build, or does not end: that is no catch" >&2
            tail -n 40 "$work/run" >&2
            status=1 test=nothing
        fi
        printf '%s,%s,%s,%d.%03d,%s\n' "$(basename "$patch" .patch)" "${room%/mod}" "$test" $((ms / 1000)) \
            $((ms % 1000)) "$(seen "$room")"
        (cd "$copy" && GIT_DIR=/dev/null git apply -R "$root/$patch") || return 1
    done
    return "$status"
}

# seen ROOM: how many of sixty schedules fail; nothing where the simulated network does not have this room.
seen() {
    local peer='library|network|membership|replication/(decide|orders|watch)|serve/bindings|swarm'
    local share='bitfield|choker|fingerprint|ledger|manifest|picker|store/partial|uplink|versions'
    [[ $1 =~ ^(manager/state|net/(key|message)|peer/($peer)|share/($share))(/|$) ]] || return 0
    (cd "$copy" && SIM_COUNT=60 timeout --foreground -k 5 600 "$program" --exact sim::tests::many --ignored --nocapture) \
        2>/dev/null | sed -n 's/^60,\([0-9]*\),.*/\1/p' || true
}

# passes TEST...: builds the copy and runs these tests; how long they ran is then in $ms. What was said is in $work/run.
passes() {
    (cd "$copy" && env -u RUSTFLAGS cargo test --locked --lib --no-run) >"$work/run" 2>&1 || return 1
    program=$(sed -n 's/^ *Executable [^(]*(\(.*\))$/\1/p' "$work/run")
    began=${EPOCHREALTIME/[.,]/}
    (cd "$copy" && timeout --foreground -k 5 300 "$program" --exact "$@") >"$work/run" 2>&1
    local failed=$?
    ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
    return "$failed"
}

[[ ${SIM_SEED-} =~ ^[0-9]*$ ]] || wrong "SIM_SEED is a number"
[[ -z $write || $1$# != planted2 && -z ${SIM_SEED-} ]] || wrong "a part of a table is not written"

table=$work/faults-$1.csv status=0
{
    echo "$(stamp), $(machine)"
    case $1 in
    sim) play "${2-}" || status=1 ;;
    planted) planted "${@:2}" || status=1 ;;
    fuzz) fuzz "${2:-1000000}" || status=1 ;;
    # Programs that leave every call to the C library, where tests/failing.rs stands in between.
    calls) RUSTFLAGS="--cfg rustix_use_libc" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/calls \
        cargo bench --locked --quiet --profile dev --bench faults -- "$@" || status=1 ;;
    *) cargo bench --locked --quiet --bench faults -- "$@" || status=1 ;;
    esac
    echo "$status" >"$work/status"
} | tee "$table"
status=$(<"$work/status")
# Not where there is nothing but its first line.
[[ -z $write || $(wc -l <"$table") -lt 2 ]] || keep "$table"
exit "$status"
