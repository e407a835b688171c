#!/usr/bin/env bash
# The scenes of the report: what its transcripts show, played by the programs. A scene has terminals, as a reader opens
# them. What stands on each is shown alone, so that a page can show one here and another further down.
# Ports are free ones, shown as those that a reader would take. Long keys and numbers are shortened, and
# long lines are folded.
# With PEERLAB_SCENES=DIR a scene that was played is kept there, so that all its terminals are of one run.
# Usage: scripts/scene.sh SCENE [TERMINAL]      what one terminal shows, or all that the scene has
#        scripts/scene.sh list                  the scenes with their terminals
# Status 3: it cannot be played here, and why.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
(($# == 1 || $# == 2)) || wrong "it takes a scene and a terminal"

list() {
    cat <<END
uppercase  server client udp    chapter 1: a line comes back in upper case
talk       nodes client busy    chapter 2: a manager, two peers, and a lease by hand
names      program              chapter 2: what a number allows, and what a token
leases     taken wait blame     chapter 3: a name that is taken, a wait, a blame that was wrong
strassen   product reals        chapter 4: with peers and without; reals, added in another order
tracker    program conflict     chapter 5: query and update by hand
holder     joe                  chapter 5: a holder dies in the middle of a download
pieces     talk                 chapter 6: pieces asked for by hand
copies     heal drop            chapters 7 and 8: a file heals, is dropped, and is restored
http       user parts           chapter 9: requests by hand
refused    paths host           appendix C: requests that are refused
answers    udp register field bounds away    the answers: what is seen
END
}

# What a scene is written with.

# on TERMINAL: puts what it is given on a screen.
on() {
    cat >>"$screens/$1"
}

# shows TERMINAL COMMAND: a command as a reader types it.
shows() {
    printf '$ %s\n' "$2" | on "$1"
}

# stands_for SHOWN USED: an address that a page shows, and the one that is used here.
declare -A used=()
stands_for() {
    used[$1]=$2
    printf 's/%s/%s/g\n' "${2//./\\.}" "$1" >>"$screens/.shown"
}

# at TERMINAL COMMAND: types a command, and shows what it prints.
at() {
    local command=$2 address
    for address in "${!used[@]}"; do command=${command//"$address"/${used[$address]}}; done
    shows "$1" "$2"
    bash -c "$command" </dev/null 2>&1 | on "$1" || true
}

# node TERMINAL NAME COMMAND...: types the command of a node that stays, and shows what it says when it is ready. Its
# address is then in $addr.
node() {
    local terminal=$1 name=$2
    shift 2
    shows "$terminal" "$*"
    if [[ $1 == manager ]]; then
        start "$name" "$@" --listen 127.0.0.1:0 2>>"$work/log"
        # Where programs look for a manager when they are told nothing else.
        stands_for 127.0.0.1:7000 "$addr"
        export PEERLAB_MANAGER=$addr
    else
        start "$name" "$@" 2>>"$work/log"
    fi
    on "$terminal" <"$work/$name.ready"
}

# network OPTIONS NAME...: what a reader has started before: a manager with these options, and peers of these names.
network() {
    local name
    node .before manager manager $1
    for name in "${@:2}"; do
        node .before "$name" peer --name "$name" serve
    done
}

# aside NAME ARG...: a peer that does one thing while the scene goes on; what it says is in NAME.log.
aside() {
    peer --name "$@" >"$1.log" 2>&1 </dev/null &
    pid=$!
    pids+=("$pid")
}

# connect ADDRESS: opens the connection on which messages are said from now on.
connect() {
    exec {line}<>"/dev/tcp/${1%:*}/${1##*:}"
}

# say TERMINAL MESSAGE [BYTES]: says a message on it, with the bytes that printf makes.
say() {
    printf '> %s\n' "$2" | on "$1"
    { printf '%s\n' "$2" && printf "${3-}"; } >&"$line"
}

# hear TERMINAL TYPE: shows messages until one of this type has come, which is then in $heard. The bytes behind them are read
# and not shown.
hear() {
    until IFS= read -r -t 20 -u "$line" heard || { echo "no $2 came" >&2 && exit 1; }
        printf '< %s\n' "$heard" | on "$1"
        [[ ! $heard =~ '"payload":'([0-9]+) ]] || head -c "${BASH_REMATCH[1]}" <&"$line" >/dev/null
        [[ $heard == *'"type":"'"$2"'"'* ]]
    do :; done
}

# said FIELD: the value of a field in what was heard last.
said() {
    [[ $heard =~ \"$1\":\"?([^,\"}]+) ]] || { echo "no $1 in $heard" >&2 && exit 1; }
    echo "${BASH_REMATCH[1]}"
}

# register TERMINAL NAME: makes this program a peer on a connection of its own. Its number and token are then in $number
# and $token.
register() {
    connect "$PEERLAB_MANAGER"
    say "$1" '{"type":"register","version":2,"name":"'"$2"'","addr":"127.0.0.1:9","slots":0}'
    hear "$1" registered
    number=$(said peer) token=$(said token)
}

# soon COMMAND: repeats it until it succeeds.
soon() {
    local deadline=$((SECONDS + 30))
    until eval "$1" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || { echo "not within 30 s: $1" >&2 && exit 1; }
        sleep 0.1
    done
}

# need COMMAND: without it the scene is passed over.
need() {
    command -v "$1" >/dev/null && return
    echo "scene.sh: there is no $1 here, so this scene cannot be played; install it, and try again" >&2
    exit 3
}

# The scenes.

uppercase() {
    local kind words server=server client=client
    shows server 'cargo build'
    shows server 'export PATH="$PWD/target/debug:$PATH"'
    for kind in tcp udp; do
        command uppercase $kind-server 127.0.0.1:0 >$kind 2>>"$work/log" &
        pids+=($!)
        until_said $kind listening
        stands_for 127.0.0.1:9000 "$(sed 's/listening on //' $kind)"
        shows $server "uppercase $kind-server 127.0.0.1:9000"
        on $server <$kind
        mkfifo $kind.in
        shows $client "uppercase $kind-client 127.0.0.1:9000"
        command uppercase $kind-client "${used[127.0.0.1:9000]}" <$kind.in >>"$screens/$client" 2>&1 &
        pids+=($!)
        exec 3>$kind.in
        for words in "good morning/GOOD MORNING" "grüße/GRÜSSE"; do
            echo "${words%/*}" | on $client
            echo "${words%/*}" >&3
            until_said "$screens/$client" "${words#*/}"
        done
        exec 3>&-
        server=udp client=udp
    done
}

talk() {
    local name
    node nodes manager manager --quantum 5s
    for name in ada ben; do
        node nodes $name peer --name $name serve
    done
    soon '[[ $(peer peers) == *ada*ben* ]]'
    # ben, without its token.
    connect "$PEERLAB_MANAGER"
    say busy '{"type":"register","version":2,"name":"ben","addr":"'"$addr"'","slots":4}' && hear busy error
    shows client 'talk 127.0.0.1 7000'
    connect "$PEERLAB_MANAGER"
    say client '{"type":"lease","slots":7}' && hear client leased
    say client '{"type":"release"}' && hear client released
    # In its first five seconds a manager lets such a request wait: its peers may be on their way.
    sleep 5
    say client '{"type":"lease","slots":100}' && hear client error
    say client '{"type":"leese"}' && hear client error
}

names() {
    network "--dead-after 5m --replicas 0" ada
    echo film >film.bin
    aside gus add film.bin
    until_said gus.log piece
    register program me
    local other=$((number - 1))
    connect "$PEERLAB_MANAGER"
    say program '{"type":"drop","file":"film.bin"}' && hear program error
    say program '{"type":"drop","peer":'$other',"file":"film.bin"}' && hear program error
    say program '{"type":"drop","peer":'"$number"',"token":"'"$token"'","file":"film.bin"}' && hear program dropped
}

leases() {
    network "--quantum 5s --dead-after 5m" ada ben
    register .before cyd
    connect "$PEERLAB_MANAGER"
    say taken '{"type":"register","version":2,"name":"ada","addr":"127.0.0.1:9","slots":0}' && hear taken error

    # cyd holds seven of the eight slots.
    connect "$PEERLAB_MANAGER"
    say .before '{"type":"lease","peer":'"$number"',"token":"'"$token"'","slots":7}' && hear .before leased
    local of_cyd=$line ben
    [[ $heard =~ '"peer":'([0-9]+)',"name":"ben"' ]] && ben=${BASH_REMATCH[1]}
    connect "$PEERLAB_MANAGER"
    say wait '{"type":"lease","slots":2}' && hear wait wait
    exec {line}>&-

    line=$of_cyd
    say blame '{"type":"blame","peer":'"$ben"',"reason":"I do not like it"}'
    say .before '{"type":"release"}' && hear .before released
    connect "$PEERLAB_MANAGER"
    soon 'say .before "{\"type\":\"state\"}" && hear .before state && [[ $heard == *"was examined"* ]]'
    grep -oE '[a-z]+ (blames|was examined)[^"]*' <<<"$heard" | on blame
}

strassen() {
    network "--replicas 0" ada ben
    soon '[[ $(peer peers) == *ada*ben* ]]'
    at product 'peer make a 1000 700 --seed 1 --integers'
    at product 'peer make b 700 1300 --seed 2 --integers'
    at product 'peer multiply a.npy b.npy -o c.npy --local'
    at product 'peer multiply a.npy b.npy -o d.npy'
    at product 'cmp c.npy d.npy && echo the same'
    peer make r 1000 --seed 3 >>"$work/log"
    # The order differs nearly every time.
    soon 'rm -f "$screens/reals" && once && [[ $(tail -n 1 "$screens/reals") == *differ* ]]'
}
once() {
    shows reals 'peer multiply r.npy r.npy -o r1.npy' && peer multiply r.npy r.npy -o r1.npy
    shows reals 'peer multiply r.npy r.npy -o r2.npy' && peer multiply r.npy r.npy -o r2.npy
    at reals 'cmp r1.npy r2.npy'
}

tracker() {
    network "--replicas 0 --dead-after 5m"
    local bytes='01234567890123456789012345678901'
    register .before ada
    local ada=$number token_of_ada=$token
    register .before ben
    connect "$PEERLAB_MANAGER"
    say program '{"type":"query","file":"notes.txt"}' && hear program error
    say program '{"type":"update","peer":'"$ada"',"token":"'"$token_of_ada"'","file":"notes.txt","size":5,"piece_size":1024,"whole":true,"payload":32}' $bytes
    hear program updated
    say program '{"type":"query","file":"notes.txt"}' && hear program holders
    say .before '{"type":"update","peer":'"$number"',"token":"'"$token"'","file":"notes.txt","size":6,"piece_size":1024,"whole":true,"payload":32}' $bytes
    hear conflict error
}

holder() {
    local pid_hal name
    network "--replicas 0"
    head -c 16M /dev/urandom >film.bin
    aside gus --up 4MiB add film.bin
    until_said gus.log pieces
    aside hal --up 4MiB down film.bin -o hal --stay
    pid_hal=$pid
    aside ida --up 4MiB down film.bin -o ida --stay
    for name in hal ida; do until_said $name.log 'pieces from'; done
    shows joe 'peer --name joe down film.bin -o joe &'
    aside joe down film.bin -o joe
    until_said joe.log '20 %'
    killed "$pid_hal"
    until_said joe.log 'pieces from'
    sed -n '1,/20 %/p' joe.log | on joe
    shows joe 'kill -9 hal'
    sed '1,/20 %/d' joe.log | on joe
}

pieces() {
    network "--replicas 0 --dead-after 5m"
    head -c 16M /dev/zero | tr '\0' x >film.bin
    aside gus add film.bin
    until_said gus.log pieces
    aside ada --down 1MiB down film.bin -o ada --stay
    until_said ada.log '%'
    register .before cyd
    connect "$PEERLAB_MANAGER"
    say .before '{"type":"query","peer":'"$number"',"token":"'"$token"'","file":"film.bin"}' && hear .before holders
    local id ada pass
    id=$(said id)
    [[ $heard =~ '"name":"ada","addr":"'([^\"]+)'"'[^}]*'"pass":"'([0-9a-f]+) ]]
    ada=${BASH_REMATCH[1]} pass=${BASH_REMATCH[2]}
    connect "$ada"
    say talk '{"type":"join","peer":'"$number"',"file":"film.bin","id":"'"$id"'","pass":"'"$pass"'"}' && hear talk bitfield
    say talk '{"type":"interested","on":true}' && hear talk have
    say talk '{"type":"request","piece":'"$(said piece)"'}' && hear talk piece
}

copies() {
    network "" ada ben cyd
    at heal 'echo hello > peerlab-ada/notes.txt; sleep 15'
    at heal 'peer files --health'
    at heal 'rm peerlab-ben/notes.txt; sleep 10; cat peerlab-ben/notes.txt'
    at drop 'peer drop notes.txt'
    soon '[[ ! -e peerlab-ada/notes.txt && ! -e peerlab-ben/notes.txt && ! -e peerlab-cyd/notes.txt ]]'
    at drop 'peer restore notes.txt --data peerlab-ben'
}

# mirrors: ada and ben share two files; pages show their ports as 40312 and 40313.
mirrors() {
    local name port=40312
    need curl
    # Nobody's own settings.
    export no_proxy=127.0.0.1 CURL_HOME=$PWD
    mkdir peerlab-ada peerlab-ben
    echo "hello world" >peerlab-ada/hello.txt
    head -c 600000 /dev/zero | tr '\0' x | tee peerlab-ada/big.bin >peerlab-ben/big.bin
    network "--replicas 0"
    for name in ada ben; do
        node .before $name peer --name $name serve
        stands_for 127.0.0.1:$port "$addr"
        soon "curl -sf http://$addr/data/big.bin"
        port=$((port + 1))
    done
}

http() {
    mirrors
    # Bash writes such an address in another way, so this is shown, and done in another way.
    shows user "exec 3<>/dev/tcp/127.0.0.1/40312; echo '{\"type\":\"get\"}' >&3; head -n 3 <&3"
    connect "${used[127.0.0.1:40312]}"
    say .before '{"type":"get"}'
    head -n 3 <&"$line" | on user
    at user 'curl -si -r 0-4 http://127.0.0.1:40312/data/hello.txt'
    at parts 'curl -s -r 0-299999 -o big.bin http://127.0.0.1:40312/data/big.bin'
    at parts 'curl -s -C - -o big.bin http://127.0.0.1:40313/data/big.bin'
    at parts 'cmp big.bin peerlab-ada/big.bin && echo the same'
}

refused() {
    local path
    mirrors
    for path in /data/../x /data/%2e%2e/x /data//x /data/a%5cb /data/x%00 /data/%c0%ae /data/%252e%252e; do
        printf '%-22s %s\n' $path "$(curl -s --path-as-is "http://${used[127.0.0.1:40312]}$path")" | on paths
    done
    at host "curl -si -H 'Host: evil.example' http://127.0.0.1:7000/state"
}

answers() {
    local udp words of_manager
    # Bash writes such an address in another way, so this is shown, and done in another way.
    RUST_LOG=info command uppercase udp-server 127.0.0.1:0 >udp 2>>udp.log &
    pids+=($!)
    until_said udp listening
    udp=$(sed 's/listening on //' udp)
    exec 4<>"/dev/udp/${udp%:*}/${udp#*:}"
    for words in '2 ' '1 | cat '; do
        : >udp.log
        shows udp "printf 'one\\ntwo\\n' ${words#* }>&4"
        eval "printf 'one\\ntwo\\n' ${words#* }>&4"
        soon '(($(wc -l <udp.log) == ${words%% *}))'
        sed 's|.*INFO \] ||' udp.log | on udp
    done

    network "--dead-after 30s" ada
    of_manager=${pids[-2]}
    connect "$PEERLAB_MANAGER"
    say register '{"type":"register","version":2,"name":"me","addr":"127.0.0.1:9","slots":2}' && hear register error
    # A list of peers may come before that.
    sed -i '/"type":"peers"/d' "$screens/register"
    connect "$PEERLAB_MANAGER"
    say field '{"type":"state","slotz":3}' && hear field error

    at bounds 'peer bounds --size 700MB --seed-up 30MB --peer-up 1MB --peer-down 2MB --peers 100'

    killed "$of_manager"
    at away 'peer peers'
}

# screen TERMINAL: what stands there, as a page can show it. Lines are folded behind a comma or a space.
screen() {
    sed -Ef "$screens/.shown" "$screens/$1" |
        sed -E 's/\b([0-9a-f]{4})[0-9a-f]{24,}([0-9a-f]{4})\b/\1...\2/g; s/\b[0-9]{13}0*([0-9]{1,3})\b/\1/g; s/\r$//' |
        awk '{
            for (margin = ""; length(margin $0) > 118; margin = "    ") {
                end = 118 - length(margin)
                while (end > 60 && substr($0, end, 1) !~ /[ ,]/) end--
                part = substr($0, 1, end)
                sub(/ +$/, "", part)
                print margin part
                $0 = substr($0, end + 1)
            }
            print margin $0
        }'
}

[[ $1 != list ]] || { list && exit; }
scene=$(list | grep "^$1 ") || wrong "there is no scene $1"
terminals=$(sed -E 's/^\S+ +//; s/ {2,}.*//' <<<"$scene")
[[ " $terminals " == *" ${2:-${terminals%% *}} "* ]] || wrong "the scene $1 has no terminal $2, but: $terminals"
screens=${PEERLAB_SCENES:-$work}/$1
if [[ ! -d $screens ]]; then
    build >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 1; }
    PATH="$bin:$PATH"
    played=$screens
    screens=$work/screens
    mkdir "$screens" "$work/scene"
    : >"$screens/.shown"
    cd "$work/scene"
    "$1"
    mkdir -p "$(dirname "$played")"
    cp -r "$screens" "$played"
    screens=$played
fi
for terminal in ${2:-$terminals}; do
    (($# == 2)) || heading "$terminal"
    screen "$terminal"
done
