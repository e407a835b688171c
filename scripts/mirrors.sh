#!/usr/bin/env bash
# A download by aria2c from three peers' mirrors against the same from three nginx, in turn, all in memory.
# Prints the medians, and that of the rounds' ratios beside the goal.
# Usage: scripts/mirrors.sh [MIB [ROUNDS]] [--write]     512 MiB and 7 rounds if absent; --write replaces
#                                                       report/data/mirrors.csv, else it goes into a folder in /tmp
#
# Needs aria2c, nginx and curl. Both sides get the same Metalink but for the addresses, so aria2c checks the same
# hashes of the same pieces. It counts mirrors by host, so each has a loopback address of its own.
set -euo pipefail
export TMPDIR=/dev/shm
source "$(dirname "$0")/lib.sh"
set -- "${words[@]}"
[[ $* =~ ^([1-9][0-9]*( [1-9][0-9]*)?)?$ ]] || wrong "it does not know $*"

size=${1:-512}
rounds=${2:-7}
goal=1.1
for tool in aria2c nginx curl; do
    if ! command -v "$tool" >/dev/null; then
        echo "mirrors.sh: there is no $tool here; install it (Debian: apt-get install aria2 nginx-light curl)" >&2
        exit 1
    fi
done
build

chmod 755 "$work" # nginx's workers are somebody else
cd "$work"
head -c "${size}M" /dev/urandom >big.bin

start manager "$bin/manager" --listen 127.0.0.1:0
manager=$addr
for i in 1 2 3; do
    mkdir -p "peer$i" "nginx$i/data"
    ln big.bin "peer$i/big.bin"
    ln big.bin "nginx$i/data/big.bin"
    start "peer$i" "$bin/peer" serve --name "peer$i" --manager "$manager" --listen "127.0.0.$i:0" --data "peer$i"
    port=$((20000 + RANDOM % 10000))
    cat >"nginx$i/conf" <<END
daemon off;
worker_processes 1;
pid $work/nginx$i/pid;
error_log stderr error;
events { worker_connections 64; }
http {
    access_log off;
    sendfile on;
    client_body_temp_path $work/nginx$i/body;
    proxy_temp_path $work/nginx$i/proxy;
    fastcgi_temp_path $work/nginx$i/fastcgi;
    uwsgi_temp_path $work/nginx$i/uwsgi;
    scgi_temp_path $work/nginx$i/scgi;
    server { listen 127.0.0.$i:$port; root $work/nginx$i; }
}
END
    nginx -p "$work/nginx$i" -c "$work/nginx$i/conf" -e stderr &
    pids+=("$!")
    nginx[i]=127.0.0.$i:$port
    curl -sSf --retry 20 --retry-delay 1 --retry-connrefused -o /dev/null -I "http://${nginx[i]}/data/big.bin" 2>/dev/null
done

# The manager knows all three mirrors when the file is whole at each.
deadline=$((SECONDS + 60))
until [[ $(curl -s "http://$manager/files/big.bin.meta4" | tr '<' '\n' | grep -c '^url ') == 3 ]]; do
    if ((SECONDS > deadline)); then
        echo "mirrors.sh: the peers have not published the file" >&2
        exit 1
    fi
    sleep 0.2
done
curl -sSf -o peers.meta4 "http://$manager/files/big.bin.meta4"
cp peers.meta4 nginx.meta4
for i in 1 2 3; do
    sed -i "s|http://127.0.0.$i:[0-9]*/|http://${nginx[i]}/|" nginx.meta4
done

# fetch WHO: the seconds that aria2c takes.
fetch() {
    rm -rf got
    local began=$EPOCHREALTIME ended
    aria2c --quiet --no-conf --file-allocation=none --split=3 --dir=got "$work/$1.meta4" >/dev/null
    ended=$EPOCHREALTIME
    cmp -s big.bin got/big.bin || {
        echo "mirrors.sh: what came from $1 is not the file" >&2
        exit 1
    }
    awk "BEGIN { printf \"%.3f\", $ended - $began }"
}

csv="$work/mirrors.csv"
{
    echo "$(stamp), $(nproc) cores, $size MiB, $(aria2c --version | head -n 1), $(nginx -v 2>&1 | sed 's/.*: //')"
    echo "from,round,seconds"
} >"$csv"
for ((round = 0; round <= rounds; round++)); do
    # Who goes first takes turns, too.
    if ((round % 2)); then order=(peers nginx); else order=(nginx peers); fi
    for who in "${order[@]}"; do
        seconds=$(fetch "$who")
        # The first round warms up.
        if ((round > 0)); then
            echo "$who,$round,$seconds" | tee -a "$csv"
        fi
    done
done

median() {
    sort -n | awk '{ a[NR] = $1 } END { printf "%.3f", (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2 }'
}
of() {
    grep "^$1," "$csv" | sort -t, -k2n | cut -d, -f3
}
# Each round's ratio, then the median of these: what slows the whole machine for a while slows both sides.
ratio=$(paste <(of peers) <(of nginx) | awk '{ print $1 / $2 }' | median)
keep "$csv"
echo "medians: $(of peers | median) s from three peers, $(of nginx | median) s from three nginx;" \
    "of the rounds' ratios $ratio, the goal is at most $goal"
