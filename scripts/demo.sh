#!/usr/bin/env bash
# The whole of peerlab in one go: a manager and three peers on this machine multiply matrices, one
# requester has to wait for its turn, a peer dies in the middle; then a file goes round, and a holder of it dies; and
# a file is copied to every peer, comes back where it is deleted, and is fetched by a program that is no peer.
# Leaves nothing behind.
# Usage: scripts/demo.sh [--slow]        --slow waits for Enter before each act
set -euo pipefail
source "$(dirname "$0")/lib.sh"
[[ $* == "" || $* == --slow ]] || wrong "it does not know $*"

# act TEXT: a heading; the slow demo waits there for Enter.
slow=${1-}
act() {
    heading "$*"
    if [[ -n $slow ]]; then
        read -rsp "   (Enter goes on) " || true
        echo
    fi
}

# board: where the network that begins here can be seen.
board() {
    echo "The board, for a browser: http://$addr/"
}

# follow NAME: shows what a peer says in NAME.log and NAME.out, as it says it, until its process $pid ends. The process that
# shows it is then in $shown.
follow() {
    # It may not have opened them yet.
    touch "$1.log" "$1.out"
    tail -q -n +1 -s 0.1 -f --pid="$pid" "$1.log" "$1.out" | sed -u "s/^/[$1] /" &
    shown=$!
}

heading "Building peerlab"
build
PATH="$bin:$PATH"
cd "$work"

heading "A manager that is always on, and three peers of four slots each"
start manager manager --listen 127.0.0.1:0
manager=$addr
board
for name in ada ben cyd; do
    start "$name" peer serve --name "$name" --manager "$manager"
    echo "$name listens on $addr and has joined"
    eval "pid_$name=$pid"
done
run peer --manager "$manager" peers

act "Two matrices of whole numbers, and their product by seven leased slots"
run peer make a 1000 700 --integers --seed 1
run peer make b 700 1300 --integers --seed 2
run peer --manager "$manager" multiply a.npy b.npy -o c.npy

act "The same product without a network, to check the answer"
run peer multiply a.npy b.npy -o local.npy --local
run cmp c.npy local.npy
echo "equal to the last bit: products of whole numbers are exact"
echo "Without peers it was faster: on one machine peers bring no core of their own, and every block goes"
echo "through a socket. At 4096 rows they cost about a quarter more. They save time on machines of their"
echo "own, where computing a block takes longer than sending it (report/4-strassen.md)."

act "Congestion: eve holds 7 of the 12 slots by hand, so the next multiply is suspended"
mkfifo eve.in
peer --name eve --slots 0 --manager "$manager" <eve.in >eve.out 2> >(sed -u 's/^/[eve] /' >&2) &
pids+=($!)
exec 3>eve.in
echo '$ peer --name eve'
echo 'eve> lease 7'
echo 'lease 7' >&3
until_said eve.out 'leased 7 slots'
tail -n +2 eve.out
echo '$ peer multiply a.npy b.npy -o c2.npy &'
peer --name fay --manager "$manager" multiply a.npy b.npy -o c2.npy >fay.out 2>fay.log &
pid=$!
pids+=("$pid")
follow fay
until_said fay.log 'waiting for 7 slots'
run peer --manager "$manager" why
echo 'eve> release'
echo 'release' >&3
until_said eve.out 'released'
tail -n 1 eve.out
wait "$pid"
wait "$shown"
run cmp c2.npy local.npy
exec 3>&-

act "A peer is killed in the middle of a multiply; the others do its products"
run peer make d 3000 --seed 3
echo '$ peer multiply d.npy d.npy --levels 2 &'
peer --manager "$manager" --name gil multiply d.npy d.npy --levels 2 >gil.out 2>gil.log &
pid=$!
pids+=("$pid")
follow gil
until_said gil.log 'leased 7 slots'
echo "\$ kill -9 cyd"
killed "$pid_cyd"
wait "$pid"
wait "$shown"
run peer --manager "$manager" peers

act "A file of 16 MiB: gus adds it, hal and ida fetch it from that peer and from each other"
# In a network of its own, where no peer gets a copy that it did not ask for.
start tracker manager --listen 127.0.0.1:0 --replicas 0
tracker=$addr
board
head -c 16M /dev/urandom >film.bin
mkdir hal ida joe

# aside NAME ARG...: a peer that does one thing while the demo goes on; what it says is in NAME.out and NAME.log.
aside() {
    echo "\$ peer --name $* &"
    peer --manager "$tracker" --name "$@" >"$1.out" 2>"$1.log" &
    pid=$!
    pids+=("$pid")
}
aside gus --up 4MiB add film.bin
until_said gus.out 'pieces'
sed 's/^/[gus] /' gus.out
aside hal --up 4MiB down film.bin -o hal --stay
pid_hal=$pid
aside ida --up 4MiB down film.bin -o ida --stay
for name in hal ida; do
    until_said "$name.out" 'pieces from'
    sed "s/^/[$name] /" "$name.out"
done
echo "gus sent little more than one copy, in four seconds; two copies from gus alone would have taken eight"
run peer --manager "$tracker" files

act "joe fetches it from all three; hal is killed in the middle, and the file is whole"
aside joe down film.bin -o joe
follow joe
until_said joe.log '20 %'
echo "\$ kill -9 hal"
killed "$pid_hal"
wait "$pid"
wait "$shown"
run cmp film.bin joe/film.bin
echo "what hal owed came from gus and ida; every piece was held against its SHA-256"

act "Every file on every peer: a note is put into the folder of kim, and it appears in all three"
start keeper manager --listen 127.0.0.1:0
keeper=$addr
board
for name in kim lea max; do
    start "$name" peer serve --name "$name" --manager "$keeper" --data "$name" --scan 1s
    echo "$name listens on $addr, and looks into the folder $name/ every second"
done
mirror=$addr

# everywhere FILE: waits until the manager says that every peer has all of it.
everywhere() {
    local deadline=$((SECONDS + 20))
    until peer --manager "$keeper" files --health | grep -q "^whole .*$1"; do
        if ((SECONDS > deadline)); then
            echo "$1 is not on all peers:" >&2
            peer --manager "$keeper" files --health >&2
            exit 1
        fi
        sleep 0.1
    done
}
echo '$ echo "a note from kim" >kim/note.txt'
echo "a note from kim" >kim/note.txt
until_said max/note.txt kim
everywhere note.txt
run ls kim/note.txt lea/note.txt max/note.txt
run peer --manager "$keeper" files --health

act "It is deleted in the folder of lea, and comes back by itself"
run rm lea/note.txt
until_said lea/note.txt kim
run cat lea/note.txt
everywhere note.txt

act "A computer without a peer takes it from a mirror: every peer is one, and the manager lists them"
export no_proxy=127.0.0.1
fetch=()
if command -v curl >/dev/null; then
    fetch=(curl -sSf)
elif command -v python3 >/dev/null; then
    echo "there is no curl here, so Python's urllib fetches it"
    echo 'import sys, urllib.request as web; sys.stdout.buffer.write(web.urlopen(sys.argv[1]).read())' >fetch.py
    fetch=(python3 fetch.py)
fi
if ((${#fetch[@]})); then
    echo "\$ ${fetch[*]} http://$keeper/files/note.txt.meta4 | grep -o 'http:[^<]*'"
    "${fetch[@]}" "http://$keeper/files/note.txt.meta4" | grep -o 'http:[^<]*'
    run "${fetch[@]}" "http://$mirror/data/note.txt"
else
    echo "there is neither curl nor python3 here; a browser would show it at http://$mirror/data/note.txt"
fi

act "Deleting heals, so to remove it for good takes a word of its own"
run peer --manager "$keeper" drop note.txt
for name in kim lea max; do until_said "$name/.peerlab/trash/note.txt" kim; done
run ls kim lea max
echo "nothing is left; each peer has its copy in its trash"

act "Somebody wants it back: one peer takes it out of its trash, and all have it again"
run peer --manager "$keeper" --data lea restore note.txt
everywhere note.txt
run ls kim lea max

heading "All nodes leave in order, and nothing of this demo stays"
cat <<'END'
Next:
    scripts/demo.sh --slow      the same act by act; open each board in a browser
    scripts/up.sh               a network of your own, with what to type next
    report/README.md            how it works, chapter by chapter
    cargo test                  the tests
END
