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

# The files in which exercise N has parts.
files_of() {
    sed -n 's|^//@ \([^ ]*\).*|\1|p' "$lab/$1/stub.rs" | sort -u
}

# mounted N FILE: the line that makes the checks of exercise N a module of FILE.
mounted() {
    local up stem=${2##*/}
    up=$(dirname "$2" | sed 's|[^/]*|..|g')
    printf '\n#[cfg(test)]\n#[path = "%s/tests/lab/%s/checks-%s.rs"]\nmod lab;\n' "$up" "$1" "${stem%.rs}"
    [[ $2 != src/bin/* ]] || printf '#[cfg(test)]\n#[path = "%s/tests/lab/runner.rs"]\nmod lab_runner;\n' "$up"
}

# The part of report/lab.md that describes exercise N.
task() {
    sed -n "/^## $1\\. /,\${/^## $1\\. /b p;/^## /q;:p;p}" "$root/report/lab.md"
}

# Sets $dir and $n for a folder that `start` made.
of_exercise() {
    (($# == 1)) || wrong "which folder?"
    if ! n=$(sed -n 's/^exercise \([0-9]*\)$/\1/p' "$1/.lab" 2>/dev/null) || [[ -z $n ]]; then
        echo "lab.sh: there is no exercise in $1; begin one with \`scripts/lab.sh start N $1\`" >&2
        exit 2
    fi
    dir=$(cd "$1" && pwd)
}

# Brings the checks of today into a copy: nobody passes by changing them. They are younger than all that was built before,
# so cargo builds this copy, and does not take another one's program for it.
mount() {
    mkdir -p "$dir/tests/lab/$n"
    cp "$lab/runner.rs" "$dir/tests/lab/"
    cp "$lab/$n"/checks-*.rs "$dir/tests/lab/$n/"
    for file in $(files_of "$n"); do
        grep -q '^mod lab;$' "$dir/$file" || mounted "$n" "$file" >>"$dir/$file"
    done
}

# judge SEEDS: builds the copy and runs its checks. Their lines are then in $work/judged; status 2 when it does not build.
judge() {
    local what=(--lib) file
    [[ $(files_of "$n") != src/bin/* ]] || what=(--bin "$(basename "$(files_of "$n")" .rs)")
    # Quick to build, slow to run: the checks are small.
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} CARGO_PROFILE_DEV_OPT_LEVEL=0
    # All copies build a program of the same name in the same place, so one copy after the other.
    local lock
    mkdir -p "$CARGO_TARGET_DIR"
    exec {lock}>"$CARGO_TARGET_DIR/lab.lock"
    flock "$lock"
    mount
    mkdir -p "$work/lab"
    rm -f "$work/lab"/*
    if ! (cd "$dir" && cargo test --locked "${what[@]}" --no-run) >"$work/build" 2>&1; then
        return 2
    fi
    local program
    program=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$work/build" | tail -n 1)
    (cd "$dir" && PEERLAB_LAB=$work/lab PEERLAB_LAB_SEEDS=$1 timeout 300 "$program" lab::checks) >"$work/run" 2>&1 || true
    cat "$work/lab"/* >"$work/judged" 2>/dev/null || true
    local ran
    ran=$(find "$work/lab" -type f | wc -l)
    if [[ $ran != $(files_of "$n" | wc -l) ]]; then
        printf '1\tthe checks come to their end\tthe program broke off: %s\n' \
            "$(grep -m 1 -E 'overflow|memory|signal|abort|error' "$work/run" || tail -n 1 "$work/run")" >>"$work/judged"
    fi
}

case ${1-} in
list)
    sed -n 's/^## \([0-9]*\)\. \(.*\)/\1. \2/p; s/^Time: /    /p' "$root/report/lab.md"
    ;;
start)
    (($# == 3)) || wrong "start needs the number of an exercise and a folder"
    n=$2
    [[ -f $lab/$n/stub.rs ]] || wrong "there is no exercise $n; \`scripts/lab.sh list\` shows them"
    if [[ -e $3 && -n $(ls -A "$3" 2>/dev/null || echo a file) ]]; then
        echo "lab.sh: $3 is there and is not empty; choose another folder" >&2
        exit 2
    fi
    mkdir -p "$3"
    dir=$(cd "$3" && pwd)
    cp -r "$root"/{Cargo.toml,Cargo.lock,README.md,src,scripts,report} "$dir/"
    (cd "$root" && tar cf - --exclude=tests/lab tests) | tar xf - -C "$dir"
    # The last two are there where the crates were fetched for a room without a network (`cargo vendor`).
    for extra in .gitignore .cargo vendor; do
        [[ ! -e $root/$extra ]] || ln -s "$root/$extra" "$dir/"
    done
    # The one program with an exercise has tests then.
    sed -i '/^name = "uppercase"$/,/^test = false$/{/^test = false$/d}' "$dir/Cargo.toml"
    for file in $(files_of "$n"); do
        splice "$n" "$file" "$lab/$n/stub.rs" >"$dir/$file"
    done
    printf '\n#[cfg(test)]\n#[path = "../tests/lab/runner.rs"]\nmod lab_runner;\n' >>"$dir/src/lib.rs"
    echo "exercise $n" >"$dir/.lab"
    mount
    task "$n" >"$dir/TASK.md"
    cat "$dir/TASK.md"
    echo "== Where to begin"
    for file in $(files_of "$n"); do
        grep -n -A1 "^ *// lab $n$" "$dir/$file" | sed -n "s|^\([0-9][0-9]*\)-.*|$3/$file:\1|p"
    done
    echo "Then: scripts/lab.sh check $3"
    ;;
check)
    of_exercise "${@:2}"
    judge "1 2 3" || {
        cat "$work/build"
        echo "== It does not build yet. The first message above names the place."
        exit 2
    }
    awk -F '\t' '{ print ($3 == "" ? "right     " : "NOT YET   ") $2 } $3 != "" { print "          " $3; left++ }
        END { exit left > 0 }' "$work/judged" | fold -s -w 118 && {
        echo "== Solved. Now the question at the end of $2/TASK.md"
        exit 0
    }
    echo "== Not yet. A hint: scripts/lab.sh hint $2"
    exit 1
    ;;
hint)
    of_exercise "${@:2}"
    shown=$(grep -c '^hint$' "$dir/.lab" || true)
    awk -v RS= -v n=$((shown + 1)) 'NR == n { print; found = 1 } END { exit !found }' "$lab/$n/hints.txt" ||
        { echo "Those were all hints. \`scripts/lab.sh solve $2\` puts the solution in."; exit 0; }
    echo hint >>"$dir/.lab"
    ;;
solve)
    of_exercise "${@:2}"
    for file in $(files_of "$n"); do
        mv "$dir/$file" "$dir/$file.mine"
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
    judge "${PEERLAB_LAB_SEEDS:-101 102 103 104}" ||
        printf '1\tit builds\tit does not build: %s\n' "$(grep -m 1 '^error' "$work/build")" >"$work/judged"
    # What there is to win stands in the checks, also where they did not come to their end.
    of=$(sed -n 's/^ *(\([0-9]*\), ".*/\1/p' "$lab/$n"/checks-*.rs | awk '{ of += $1 } END { print of }')
    awk -F '\t' -v n="$n" -v of="$of" '
        { if ($3 == "") { points += $1 } else { gsub(/["\\]/, "\\\\&", $3); why = why sep "\"" $2 ": " $3 "\""; sep = "," } }
        END { printf "{\"exercise\":%d,\"points\":%d,\"of\":%d,\"reasons\":[%s]}\n", n, points, of, why }' "$work/judged"
    ;;
splice)
    # For tests/lab.rs: splice N FILE TEXT
    splice "${@:2}"
    ;;
*)
    wrong "${1:+there is no command $1}${1-which command?}"
    ;;
esac
