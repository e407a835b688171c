#!/usr/bin/env python3
"""A peer that misbehaves, for a class to find. It is built on report/peer.py and speaks the wire like all others.

liar         computes wrong products
zombie       answers pings, and never ends a product
free-rider   fetches each file, and gives nothing
flapper      joins, leaves, and joins again
bit-flipper  fetches each file, and gives it with one wrong bit in each piece
snail        computes slowly, and gives slowly

All of them pass the examination of a new peer. It runs until Ctrl-C.
"""
import argparse
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import random
import secrets
import socket
import struct
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "report"))
import peer  # noqa: E402

honest_say = peer.say

# How fast a snail gives, in bytes per second.
RATE = 64 << 10
# How many pieces one that fetches asks each holder for at a time, and how often it looks for new files, in seconds.
AT_ONCE, LOOK = 4, 1


class Admitted:
    """A connection whose two sides show that they know the secret, if there is one (2-wire.md, "Who may speak")."""

    def __init__(self, sock, secret):
        self.sock, self.secret, self.first = sock, secret, b""
        self.lines, self.shown = sock.makefile("rb"), secret is None
        self.read, self.readline = self.lines.read, self.lines.readline

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def makefile(self, *_):
        return self

    def __iter__(self):
        if self.first:
            yield self.first
        yield from self.lines

    def proof(self, purpose, nonce, line):
        text = bytes([purpose])
        for part in (nonce.encode(), line.strip()):
            text += len(part).to_bytes(8, "big") + part
        return hmac.digest(self.secret, text, "sha256").hex()

    def sendall(self, data):
        """Sends. After the first line it shows what that line and the other side's number come to under the secret."""
        if not self.shown:
            line, _, data = data.partition(b"\n")
            self.sock.sendall(line + b"\n")
            nonce = json.loads(self.readline())["nonce"]
            honest_say(self.sock, type="proof", mac=self.proof(3, nonce, line))
            self.shown = True
        self.sock.sendall(data)

    def admit(self):
        """Lets in one that has connected, when it has shown that it knows the secret."""
        if not self.shown:
            self.first, nonce = self.readline(), secrets.token_hex(32)
            honest_say(self.sock, type="challenge", nonce=nonce)
            shown = json.loads(self.readline())
            if shown["mac"] != self.proof(3, nonce, self.first):
                raise ConnectionError("a program without the secret was not let in")
            if shown.get("nonce"):
                honest_say(self.sock, type="welcome", mac=self.proof(4, shown["nonce"], self.first))
            self.shown = True
        return self


class Fetch:
    """One file, from all that have it. It tells nobody what it has."""

    def __init__(self, saboteur, file):
        me = saboteur.me
        to = peer.create_connection(saboteur.manager)
        peer.say(to, type="query", peer=me["peer"], token=me["token"], file=file, has=True)
        self.found = json.loads(to.readline())
        hashes = to.read(self.found.get("payload", 0))
        self.hashes = [hashes[i:i + 32] for i in range(0, len(hashes), 32)]
        self.open, self.pieces, self.changed = set(range(len(self.hashes))), {}, threading.Condition()
        self.talks = []
        for holder in self.found.get("holders", []):
            threading.Thread(target=self.take, args=[holder, me["peer"]], daemon=True).start()

    def whole(self):
        """All of it, or nothing if no piece comes for a minute."""
        with self.changed:
            while "id" in self.found and len(self.pieces) < len(self.hashes) and self.changed.wait(60):
                pass
        for to in self.talks:
            to.close()
        if "id" in self.found and len(self.pieces) == len(self.hashes):
            return b"".join(self.pieces[i] for i in range(len(self.hashes)))

    def take(self, holder, number):
        with contextlib.suppress(OSError, ValueError):
            self.converse(holder, number)

    def converse(self, holder, number):
        host, port = holder["addr"].rsplit(":", 1)
        to, has, owed, served = peer.create_connection((host, port)), set(), set(), False
        self.talks.append(to)
        shown = {"peer": number, "pass": holder["pass"]} if "pass" in holder else {}
        peer.say(to, type="join", file=self.found["file"], id=self.found["id"], **shown)
        peer.say(to, type="interested", on=True)
        for message in map(json.loads, to):
            kind, piece = message["type"], message.get("piece")
            if kind == "bitfield":
                bits = to.read(message["payload"])
                has |= {i for i in range(8 * len(bits)) if bits[i // 8] & 128 >> i % 8}
            elif kind == "have":
                has.add(piece)
            elif kind in ("choke", "unchoke"):
                served = kind == "unchoke"
            with self.changed:
                if kind == "choke":
                    self.open |= owed
                    owed.clear()
                elif kind == "piece":
                    data = to.read(message["payload"])
                    owed.discard(piece)
                    if hashlib.sha256(data).digest() == self.hashes[piece]:
                        self.pieces[piece] = data
                        self.changed.notify_all()
                    else:
                        self.open.add(piece)
                wanted = random.sample(sorted(has & self.open), len(has & self.open))
                wanted = wanted[:AT_ONCE - len(owed)] if served else []
                owed |= set(wanted)
                self.open -= owed
            for piece in wanted:
                peer.say(to, type="request", piece=piece)


class Saboteur(peer.Peer):
    """An honest peer but for what `misbehave` does to what it says."""

    daemon_threads = True
    doing = threading.local()

    def __init__(self, options):
        self.options, self.secret = options, None
        if options.secret_file:
            self.secret = hashlib.sha256(pathlib.Path(options.secret_file).read_bytes().removesuffix(b"\n")).digest()
        self.manager = tuple(options.manager.rsplit(":", 1))
        peer.create_connection = lambda addr: Admitted(socket.create_connection(addr), self.secret)
        peer.say = self.misbehave
        # The address of this computer by which the manager is reached.
        with socket.create_connection(self.manager) as probe:
            super().__init__((probe.getsockname()[0], 0), None)

    @property
    def me(self):
        return self.registered

    @me.setter
    def me(self, answer):
        """The manager has answered `register`: with a number and a token, or with its reason against it."""
        if answer["type"] == "error":
            sys.exit(f"saboteur.py: {answer['text']}")
        self.registered = answer
        about = {"type": "ready", "role": "peer", "name": self.options.name}
        print(json.dumps(about | {"addr": "%s:%d" % self.server_address}), flush=True)
        if self.options.how in ("free-rider", "bit-flipper"):
            threading.Thread(target=self.fetch_all, daemon=True).start()
        if self.options.how == "flapper":
            threading.Timer(self.options.seconds, self.line.close).start()

    def finish_request(self, to, addr):
        super().finish_request(Admitted(to, self.secret).admit(), addr)

    def handle_error(self, *_):
        """The other side is gone, or does not know the secret."""

    def multiply(self, to, stream, lease, **rest):
        self.doing.lease = lease
        super().multiply(to, stream, lease, **rest)

    def misbehave(self, to, data=None, **message):
        how, kind = self.options.how, message["type"]
        if kind == "product" and self.doing.lease in self.bound:  # Else it is the examination of a new peer.
            if how == "liar" and data:
                at = 8 * random.randrange(len(data) // 8)
                wrong = struct.pack("<d", 1 + struct.unpack_from("<d", data, at)[0])
                data = data[:at] + wrong + data[at + 8:]
            elif how == "zombie":
                threading.Event().wait()
            elif how == "snail":
                time.sleep(self.options.seconds)
        if kind == "piece" and how == "bit-flipper":
            at = random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1:]
        if kind == "piece" and how == "snail":
            return self.trickle(to, data, message)
        honest_say(to, data, **message)

    def trickle(self, to, data, message):
        to.sendall(json.dumps(message | {"payload": len(data)}).encode() + b"\n")
        for at in range(0, len(data), RATE // 8):
            to.sendall(data[at:at + RATE // 8])
            time.sleep(1 / 8)

    def fetch_all(self):
        """Fetches each file of the network once, and, if it is a bit-flipper, offers it."""
        ids = set()
        while True:
            to = peer.create_connection(self.manager)
            peer.say(to, type="files")
            for file in map(json.loads, to):
                if file["type"] == "end":
                    break
                if file["id"] not in ids and (data := Fetch(self, file["file"]).whole()) is not None:
                    ids.add(file["id"])
                    if self.options.how == "bit-flipper":
                        self.offer(peer.create_connection(self.manager), file["file"], data)
            time.sleep(LOOK)


def main():
    lines = __doc__.strip().splitlines()
    parser = argparse.ArgumentParser(description=lines[0], epilog="\n".join(lines[1:]),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    hows = [line.split()[0] for line in lines[2:8]]
    parser.add_argument("how", choices=hows, metavar="HOW", help=", ".join(hows))
    parser.add_argument("--manager", default=os.environ.get("PEERLAB_MANAGER", "127.0.0.1:7000"))
    parser.add_argument("--name", default=f"peer-{random.randrange(1 << 16):04x}", help="a random one if absent")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--data", type=pathlib.Path, help="a folder whose files it gives, too")
    parser.add_argument("--seconds", type=float, default=4,
                        help="how long a flapper stays, and is away; how long a snail takes for a product")
    parser.add_argument("--secret-file", type=pathlib.Path, default=os.environ.get("PEERLAB_SECRET_FILE"),
                        help="the secret of the network, if it has one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        while True:
            saboteur = Saboteur(options)
            saboteur.stay(saboteur.manager, options.name, options.slots, options.data or empty)
            saboteur.shutdown()
            saboteur.server_close()
            if options.how != "flapper":
                sys.exit("saboteur.py: the manager has ended the conversation")
            time.sleep(options.seconds)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except OSError as no:
        sys.exit(f"saboteur.py: {no}; is there a manager at that address?")
