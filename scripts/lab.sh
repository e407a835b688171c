#!/usr/bin/env bash
# The lab: ten exercises, each in a copy of the project in which a part is missing. report/lab.md describes them.
# Usage: scripts/lab.sh list              the exercises, with their time
#        scripts/lab.sh start N DIR       makes a copy of the project in DIR, in which exercise N is to be solved
#        scripts/lab.sh check DIR         what is right so far, and what is not: status 0 when it is solved, 1 when it is
#                                         not, 2 when it does not build
#        scripts/lab.sh hint DIR          one hint more each time
#        scripts/lab.sh solve DIR         puts the solution in; what was there is kept beside it
#        scripts/lab.sh grade DIR         one line of JSON with points and reasons, from other inputs than `check` uses
# What a teacher of the lab needs, tests/lab/README.md says.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
lab=$root/tests/lab
unset CDPATH

# splice N FILE TEXT: prints FILE with the parts that belong to exercise N replaced by those that TEXT has for it. A part is
# the item below a line `// lab N`, to its closing bracket. In TEXT `//@ FILE K` stands above what replaces the K-th.
splice() {
    awk -v marker="// lab $1" -v file="$2" '
        FNR == 1 { source_file = FILENAME == ARGV[2] }
        !source_file && /^\/\/@ / { part = $2 == file ? ($3 ? $3 : 1) : 0; next }
        !source_file && /^\/\/# / { next }
        !source_file { if (part) { text[part] = text[part] $0 "\n" } next }
        inside { if ($0 == indent "}" || $0 == indent "];") { inside = 0 } next }
        { print }
        { line = $0; sub(/^ */, "", line) }
        line == marker && ++count in text { indent = substr($0, 1, index($0, "/") - 1); inside = 1; printf "%s", text[count] }
    ' "$3" "$root/$2"
}

# The files in which exercise N has parts, in the order of the task.
files_of() {
    awk '$1 == "//@" && !seen[$2]++ { print $2 }' "$lab/$1/stub.rs"
}

# points N: how many there are to win, as the checks of exercise N say.
points() {
    sed -n 's/^ *(\([0-9]*\), ".*/\1/p' "$lab/$1"/checks-*.rs | awk '{ of += $1 } END { print of }'
}

# mounted N FILE: what makes the checks of exercise N a module of FILE.
mounted() {
    local up stem=${2##*/}
    up=$(dirname "$2" | sed 's|[^/]*|..|g')
    printf '\n// The checks of the lab.\n'
    [[ $2 != src/bin/* ]] || printf '#[cfg(test)]\n#[path = "%s/tests/lab/runner.rs"]\nmod lab_runner;\n' "$up"
    printf '#[cfg(test)]\n#[path = "%s/tests/lab/%s/checks-%s.rs"]\nmod lab;\n' "$up" "$1" "${stem%.rs}"
}

# copy_to DIR: the project, without the lab's solutions and without the lints that would keep an unfinished part from being
# built; that of unknown `cfg`s has the names of those that are known. The one program with an exercise has tests there.
copy_to() {
    mkdir -p "$1"
    cp -r "$root"/{Cargo.lock,README.md,src,scripts,report} "$1/"
    (cd "$root" && tar cf - --exclude=tests/lab tests) | tar xf - -C "$1"
    awk '/^\[/ { lints = /^\[lints/ } !lints || /^\[lints.rust\]|check-cfg/' "$root/Cargo.toml" |
        sed '/^name = "uppercase"$/,/^test = false$/{/^test = false$/d}' >"$1/Cargo.toml"
    # The last two are there where the crates were fetched for a room without a network (`cargo vendor`).
    local extra
    for extra in .gitignore .cargo vendor; do
        [[ ! -e $root/$extra ]] || ln -s "$root/$extra" "$1/"
    done
    printf '\n#[cfg(test)]\n#[path = "../tests/lab/runner.rs"]\nmod lab_runner;\n' >>"$1/src/lib.rs"
}

# The part of report/lab.md that describes exercise N, with links as they are from the folder above.
task() {
    sed -n "/^## $1\\. /,\${/^## $1\\. /b p;/^## /q;:p;p}" "$root/report/lab.md" |
        sed 's|](\([^)/]*\.md\)|](report/\1|g; s|](\.\./|](|g'
}

# Sets $dir and $n for a folder that `start` made.
of_exercise() {
    (($# == 1)) || wrong "which folder?"
    if ! n=$(sed -n 's/^exercise \([0-9]*\)$/\1/p' "$1/.lab" 2>/dev/null) || [[ -z $n ]]; then
        echo "lab.sh: there is no exercise in $1; begin one with \`scripts/lab.sh start N $1\`" >&2
        exit 2
    fi
    dir=$(cd -- "$1" && pwd)
}

# Brings the checks of today into $dir, a copy.
mount() {
    mkdir -p "$dir/tests/lab/$n"
    cp "$lab/runner.rs" "$dir/tests/lab/"
    cp "$lab/$n"/checks-*.rs "$dir/tests/lab/$n/"
    local file
    for file in $(files_of "$n"); do
        grep -q '^mod lab;$' "$dir/$file" || mounted "$n" "$file" >>"$dir/$file"
    done
    # All copies have one name in the folder of what is built: cargo shall not take another's for this one.
    touch "$dir/src/lib.rs"
}

# judge SEEDS: builds $dir and runs its checks. Their lines are then in $work/judged, the points that can be won in $of;
# status 2 when it does not build.
judge() {
    local what=(--lib) file program status=0
    of=$(points "$n")
    [[ $(files_of "$n") != src/bin/* ]] || what=(--bin "$(basename "$(files_of "$n")" .rs)")
    mkdir -p "$work/lab"
    # Quick to build, slow to run: the checks are small. Where the project cannot be written to, each copy has its own.
    export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_TERM_COLOR=never CARGO_TERM_QUIET=false
    export CARGO_TARGET_DIR=${bin%/release}
    [[ $CARGO_TARGET_DIR != "$root"/* || -w $root ]] || CARGO_TARGET_DIR=$dir/target
    mkdir -p "$CARGO_TARGET_DIR"
    exec 9>"$CARGO_TARGET_DIR/.lab"
    flock 9
    # In this moment, and so younger than all that was built before.
    mount
    if ! (cd "$dir" && env -u RUSTFLAGS cargo test --locked "${what[@]}" --no-run) >"$work/build" 2>&1; then
        return 2
    fi
    program=$(sed -n 's/^ *Executable [^(]*(\(.*\))$/\1/p' "$work/build" | tail -n 1)
    # A program that runs away takes the machine with it: it has some memory, and its log an end.
    (
        cd "$dir"
        ulimit -f 200000 -v 16000000
        PEERLAB_LAB=$work/lab PEERLAB_LAB_SEEDS=$1 timeout --foreground -k 5 300 "$program" --nocapture lab::checks
    ) >"$work/run" 2>&1 || status=$?
    # In the order of the task.
    for file in $(files_of "$n"); do
        file=${file##*/}
        cat "$work/lab"/*"${file%.rs}.lab" 2>/dev/null || true
    done >"$work/judged"
    if [[ $(awk -F '\t' 'NF == 3 { of += $1 } END { print of + 0 }' "$work/judged") != "$of" ]]; then
        local why="the program broke off: $(grep -a -m 1 -E 'overflow|memory|signal|abort|error' "$work/run" || tail -n 1 "$work/run")"
        [[ $status != 124 ]] || why="they were not done after 300 s"
        printf '1\tthe checks come to their end\t%s\n' "${why//[[:cntrl:]]/ }" >>"$work/judged"
    fi
}

case ${1-} in
list)
    sed -n '/^## [0-9]/,/^Time: /{s/^## //p; s/^Time: \(.*\) Read .*/    \1/p}' "$root/report/lab.md"
    ;;
start)
    (($# == 3)) || wrong "start needs the number of an exercise and a folder"
    n=$2
    [[ -f $lab/$n/stub.rs ]] || wrong "there is no exercise $n; \`scripts/lab.sh list\` shows them"
    if [[ -e $3 && -n $(ls -A -- "$3" 2>/dev/null || echo a file) ]]; then
        echo "lab.sh: $3 is there and is not empty; choose another folder" >&2
        exit 2
    fi
    mkdir -p -- "$3"
    dir=$(cd -- "$3" && pwd)
    if [[ $dir/ == "$root"/* ]]; then
        rmdir "$dir"
        echo "lab.sh: $3 is inside the project; choose a folder beside it" >&2
        exit 2
    fi
    copy_to "$dir"
    for file in $(files_of "$n"); do
        splice "$n" "$file" "$lab/$n/stub.rs" >"$dir/$file"
    done
    echo "exercise $n" >"$dir/.lab"
    mount
    task "$n" >"$dir/TASK.md"
    cat "$dir/TASK.md"
    echo "== Where to begin"
    for file in $(files_of "$n"); do
        grep -n "^ *// lab $n$" "$dir/$file" | while IFS=: read -r line _; do echo "$3/$file:$((line + 1))"; done
    done
    echo "Then: scripts/lab.sh check $3"
    ;;
check)
    of_exercise "${@:2}"
    judge "1 2 3" || {
        # Without what was built before the first error; all of it, if cargo itself did not get so far.
        awk '/^error/ { found = 1 } found; END { exit !found }' "$work/build" || cat "$work/build"
        echo "== It does not build yet. The first message above names the place."
        exit 2
    }
    awk -F '\t' '{ print ($3 == "" ? "right     " : "NOT YET   ") $2 } $3 != "" { print "          " $3; left++ }
        END { exit left > 0 }' "$work/judged" | fold -s -w 108 | sed '/^right  \|^NOT YET/!s/^ */          /' && {
        echo "== Solved. Now the question at the end of $2/TASK.md"
        exit 0
    }
    echo "== Not yet. A hint: scripts/lab.sh hint $2"
    exit 1
    ;;
hint)
    of_exercise "${@:2}"
    shown=$(grep -c '^hint$' "$dir/.lab" || true)
    awk -v RS= -v n=$((shown + 1)) 'NR == n { print; found = 1 } END { exit !found }' "$lab/$n/hints.txt" |
        fold -s -w 118 || { echo "Those were all hints. \`scripts/lab.sh solve $2\` puts the solution in."; exit 0; }
    echo hint >>"$dir/.lab"
    ;;
solve)
    of_exercise "${@:2}"
    for file in $(files_of "$n"); do
        # Also what is written after a first solution is kept: in FILE.mine.~1~, and so on.
        mv --backup=numbered "$dir/$file" "$dir/$file.mine"
        if [[ -f $lab/$n/solution.rs ]]; then
            splice "$n" "$file" "$lab/$n/solution.rs" >"$dir/$file"
        else
            cp "$root/$file" "$dir/$file"
        fi
        echo "$2/$file has the solution; what you wrote is in $2/$file.mine"
    done
    mount
    ;;
grade)
    of_exercise "${@:2}"
    # In a fresh copy, with the student's files and none of the student's checks.
    theirs=$dir dir=$work/copy
    copy_to "$dir"
    for file in $(files_of "$n"); do
        awk '/^\/\/ The checks of the lab\.$/ { skip = 1 } !skip; /^mod lab;$/ { skip = 0 }' "$theirs/$file" >"$dir/$file"
    done
    judge "${PEERLAB_LAB_SEEDS:-101 102 103 104}" ||
        printf '1\tit does not build\t%s\n' "$(grep -m 1 '^error' "$work/build")" >"$work/judged"
    awk -F '\t' -v n="$n" -v of="$of" '
        { gsub(/[[:cntrl:]]/, " ", $3); gsub(/["\\]/, "\\\\&", $3) }
        $3 == "" { points += $1; next }
        { why = why sep "\"" $2 ": " $3 "\""; sep = "," }
        END { printf "{\"exercise\":%d,\"points\":%d,\"of\":%d,\"reasons\":[%s]}\n", n, points, of, why }' "$work/judged"
    ;;
splice | points)
    # For tests/lab.rs: splice N FILE TEXT; points N
    "$@"
    ;;
*)
    wrong "there is no command ${1:-of no name}"
    ;;
esac
