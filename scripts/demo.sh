#!/usr/bin/env bash
# The whole of peerlab in one go: a manager and three peers on this machine multiply matrices, one
# requester has to wait for its turn, a peer dies in the middle. Leaves nothing behind.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

heading "Building peerlab"
build
PATH="$bin:$PATH"
cd "$work"

heading "A manager that is always on, and three peers of four slots each"
start manager manager --listen 127.0.0.1:0
manager=$addr
echo "the manager listens on $manager"
for name in ada ben cyd; do
    start "$name" peer serve --name "$name" --manager "$manager"
    echo "$name listens on $addr and has joined"
    eval "pid_$name=$pid"
done
run peer --manager "$manager" peers

heading "Two matrices of whole numbers, and their product by seven leased slots"
run peer make a 1000 700 --integers --seed 1
run peer make b 700 1300 --integers --seed 2
run peer --manager "$manager" multiply a.npy b.npy -o c.npy

heading "The same product without a network, to check the answer"
run peer multiply a.npy b.npy -o local.npy --local
run cmp c.npy local.npy
echo "equal to the last bit: products of whole numbers are exact"

heading "Congestion: Eve holds 7 of the 12 slots by hand, so the next multiply is suspended"
mkfifo eve.in
peer --name eve --slots 0 --manager "$manager" <eve.in >eve.out 2> >(sed -u 's/^/[eve] /' >&2) &
pids+=($!)
exec 3>eve.in
echo '$ peer --name eve'
echo 'eve> lease 7'
echo 'lease 7' >&3
until_said eve.out 'leased 7 slots'
tail -n +2 eve.out
echo '$ peer multiply a.npy b.npy &'
peer --name fay --manager "$manager" multiply a.npy b.npy -o c2.npy >fay.out 2>fay.log &
fay=$!
pids+=("$fay")
until_said fay.log 'waiting for 7 slots'
sed 's/^/[fay] /' fay.log
run peer --manager "$manager" why
echo 'eve> release'
echo 'release' >&3
until_said eve.out 'released'
wait "$fay"
tail -n 1 eve.out
sed 's/^/[fay] /' fay.out
run cmp c2.npy local.npy
exec 3>&-

heading "A peer is killed in the middle of a multiply; the others do its products"
run peer make d 3000 --seed 3
peer --manager "$manager" --name gil multiply d.npy d.npy --levels 2 >gil.out 2>gil.log &
gil=$!
pids+=("$gil")
until_said gil.log 'leased 7 slots'
echo "\$ kill -9 cyd"
kill -9 "$pid_cyd"
wait "$pid_cyd" 2>/dev/null || true
wait "$gil"
sed 's/^/[gil] /' gil.log gil.out
run peer --manager "$manager" peers

heading "Everybody leaves in order"
