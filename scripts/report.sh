#!/usr/bin/env bash
# Writes again what the report takes from the program and from report/data: excerpts, numbers, transcripts and sequence
# charts, so that nothing is copied by hand; and prints it all into report/peerlab.pdf.
# Look at `git diff` afterwards: the words around a changed excerpt may have to change too.
# Usage: scripts/report.sh [PAGE]...            the pages whose transcripts are run; all, the charts and the PDF, if none
#                                               is named
#        scripts/report.sh --check [PAGE]...    changes nothing, and fails where something differs by more than it may
#        scripts/report.sh --pdf                the PDF alone
# The PDF needs python3 with venv, and packages from the network the first time; else it is passed over.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"
task=write
case ${1-} in --check | --pdf) task=${1#--} && shift ;; esac
for page in "$@"; do
    [[ -f $page && $task != pdf ]] || wrong "there is no page $page"
done
# All pages, with a copy of each in which transcripts are filled.
again=$work/again
mkdir -p "$again/report"
cp README.md "$again"
cp report/*.md "$again/report"
everything=
(($# > 0)) || { everything=yes && set -- README.md report/*.md; }
# The terminals of a scene that stand on several pages are of one run.
export PEERLAB_SCENES=$work/scenes

# Fills each `<!-- transcript: COMMAND -->` ... `<!-- end of transcript -->` of a page with what the command
# prints, run from the project's root. A command that says with status 3 that it cannot run here leaves what there is.
fill_transcripts() {
    local page=$1 line command output status
    while IFS= read -r line; do
        printf '%s\n' "$line"
        [[ $line =~ ^'<!-- transcript: '(.*)' -->'$ ]] || continue
        command=${BASH_REMATCH[1]}
        status=0
        output=$(bash -c "$command" </dev/null 2>&1) || status=$?
        if ((status == 0)); then
            # Without the blank lines that it may begin with.
            printf '```text\n%s\n```\n' "$(sed '/./,$!d' <<<"$output")"
        elif ((status == 3)); then
            printf '%s\nThe transcript of `%s` is as it was.\n' "$output" "$command" >&2
        else
            printf '%s\nreport.sh: `%s` failed; %s is as it was\n' "$output" "$command" "$page" >&2
            exit 1
        fi
        until [[ $line == '<!-- end of transcript -->' ]]; do
            IFS= read -r line || { echo "report.sh: no end of the transcript of $command in $page" >&2; exit 1; }
            ((status == 0)) || [[ $line == '<!-- end of transcript -->' ]] || printf '%s\n' "$line"
        done
        printf '%s\n' "$line"
    done <"$page" >"$again/$page"
}

# labels CHART: what its messages say, each once: how often one is sent, and its numbers, differ from run to run.
labels() {
    sed -nE 's|^<text class="label[^>]*>(.*)</text>$|\1|p' "$1" | sed -E 's/[0-9][0-9.]*/#/g' | LC_ALL=C sort -u
}

# check_charts: draws them again, elsewhere, and compares what is said in them.
check_charts() {
    local drawn chart differs=
    drawn=$(scripts/charts.sh | sed -n 's/^drawn into //p')
    for chart in "$drawn"/*.svg; do
        chart=${chart##*/}
        diff --label "report/figures/$chart" --label "drawn now" -u <(labels "report/figures/$chart") \
            <(labels "$drawn/$chart") || differs+=" $chart"
    done
    [[ -z $differs ]] || { echo "report.sh: other messages in$differs; scripts/charts.sh --write draws again" >&2; exit 1; }
    rm -r "$drawn"
}

# print_pdf: by packages that live in a folder of their own among what was built.
print_pdf() {
    local tools=${bin%/release}/pdf pdf=report/peerlab.pdf
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo "There is no python3 with venv here (Debian: apt install python3-venv), so $pdf is not made."
        return
    fi
    if [[ ! -e $tools/ready ]]; then
        if ! { python3 -m venv --clear "$tools" && "$tools/bin/pip" install --quiet typst==0.15.2 markdown-it-py==4.3.0; }; then
            echo "The packages typst and markdown-it-py cannot be installed here: is there a network, and does a wheel fit?"
            echo "$pdf is not made; run \`scripts/report.sh --pdf\` again where they can."
            [[ $task != pdf ]]
            return
        fi
        touch "$tools/ready"
    fi
    "$tools/bin/python" scripts/pdf.py "$pdf"
    echo "written: $pdf"
}

if [[ $task == pdf ]]; then
    print_pdf
    exit
fi

heading "Building"
build

if [[ $task == write ]]; then
    heading "Excerpts of the source"
    UPDATE_REPORT=1 cargo test --locked --quiet --test main every_excerpt_is_what_the_source_says
fi

heading "Transcripts"
for page in "$@"; do
    if grep -q '^<!-- transcript: ' "$page"; then
        echo "$page"
        fill_transcripts "$page"
        [[ $task == check ]] || cat "$again/$page" >"$page"
    fi
done

if [[ -n $everything ]]; then
    heading "Charts"
    if [[ $task == check ]]; then check_charts; else scripts/charts.sh --write; fi
fi

if [[ $task == check ]]; then
    heading "Excerpts, transcripts, numbers, links, lengths"
    REPORT_AGAIN=$again cargo test --locked --quiet --test main report::
    heading "The report says what the programs do."
elif [[ -n $everything ]]; then
    heading "The PDF"
    print_pdf
fi
