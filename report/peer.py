"""A peer: python3 report/peer.py --manager 127.0.0.1:7000 --name py --slots 2 --data FOLDER"""
import json
from hashlib import sha256
from hmac import digest
from pathlib import Path
from socket import create_connection
from socketserver import ThreadingTCPServer
from struct import pack, unpack
from sys import argv
from threading import Condition, Thread

def say(to, data=None, **message):
    message |= {} if data is None else {"payload": len(data)}
    to.sendall(json.dumps(message).encode() + b"\n" + (data or b""))

class Peer(ThreadingTCPServer):
    bound, running, files, told, piece, request_queue_size = {}, [], {}, Condition(), 256 << 10, 99
    def stay(self, manager, name, slots, folder):
        self.line, addr = create_connection(manager), "%s:%d" % self.server_address
        say(self.line, type="register", version=2, name=name, addr=addr, slots=slots, keeps=False)
        messages = map(json.loads, self.line.makefile())
        self.me = next(messages)  # `registered`: no exam can be passed without its token.
        Thread(target=self.serve_forever, daemon=True).start()
        for path in filter(Path.is_file, Path(folder).iterdir()):
            self.offer(create_connection(manager), path.name, path.read_bytes())
        for message in messages:
            if message["type"] == "ping":
                say(self.line, type="ok")
            elif message["type"] in ("bind", "unbind"):  # The second has no key: none will fit.
                with self.told:
                    self.bound[message["lease"]] = message.get("key"), message.get("slots")
                    self.told.notify_all()
                if message["type"] == "unbind" and message["lease"] not in self.running:
                    say(self.line, type="unbound", lease=message["lease"])

    def offer(self, to, name, data):
        pieces = [data[i:i + self.piece] for i in range(0, len(data), self.piece)]
        say(to, b"".join(sha256(piece).digest() for piece in pieces), file=name, size=len(data),
            piece_size=self.piece, whole=True, **self.me | {"type": "update"})
        self.files[json.loads(to.makefile().readline()).get("id")] = pieces

    def finish_request(self, to, _):
        try:
            for message in map(json.loads, stream := to.makefile("rb")):
                assert message["type"] in "multiply join interested request have wrong".split()
                if message["type"] == "multiply":
                    self.multiply(to, stream, **message)
                elif message["type"] == "join":
                    n = len(file := self.files[message["id"]])  # Below, a one for each piece.
                    say(to, ((1 << n) - 1 << -n % 8).to_bytes(n + 7 >> 3, "big"), type="bitfield")
                elif message["type"] == "interested":
                    say(to, type="unchoke")
                elif message["type"] == "request":
                    say(to, file[message["piece"]], type="piece", piece=message["piece"])
        except (AssertionError, KeyError, TypeError, ValueError) as why:
            say(to, type="error", code="bad_message", text=f"not a message for a peer: {why!r}")

    def multiply(self, to, stream, lease, key, product, rows, inner, cols, payload, **_):
        assert payload == 8 * inner * (rows + cols) and max(payload, 8 * rows * cols) <= 1 << 32
        exam = pack(">BQQQQ", 1, 8, lease, 8, self.me["peer"])
        exam = digest(bytes.fromhex(self.me["token"]), exam, "sha256").hex()
        with self.told:  # A product may come before the `bind` of its lease.
            self.told.wait_for(lambda: lease in self.bound or key == exam, timeout=1)
            own, slots = self.bound.get(lease, (exam, 1))
            no = "expired" if key != own else "busy" if self.running.count(lease) == slots else ""
            self.running.append(lease)
        try:
            ab = unpack(f"<{payload // 8}d", stream.read(payload))  # A liar: [x + 1 for x in ...]
            if no:
                return say(to, type="error", code=no, text="this product was not begun")
            c = [sum(ab[i * inner + k] * ab[rows * inner + k * cols + j] for k in range(inner))
                 for i in range(rows) for j in range(cols)]
            say(to, pack(f"<{len(c)}d", *c), type="product", product=product, rows=rows, cols=cols)
        finally:
            self.running.remove(lease)
            if self.bound.get(lease) == (None, None) and lease not in self.running:
                say(self.line, type="unbound", lease=lease)

if __name__ == "__main__":
    Peer(("127.0.0.1", 0), None).stay(argv[2].split(":"), argv[4], int(argv[6]), argv[8])
