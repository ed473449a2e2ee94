"""The clients that people write by hand: a raw socket, a challenge, and lengths made by `struct`, or
no lengths at all. The task comes as JSON on standard input, what was met goes out as JSON."""

import contextlib
import hashlib
import hmac
import io
import json
import os
import socket
import struct
import sys
import time

task = json.load(sys.stdin.buffer)
key = task["key"].encode()


def connect(address):
    s = socket.create_connection(tuple(address))
    s.settimeout(60)
    return s


def prove(how, key, challenge):
    if how == "hmac":
        if sys.version_info < (3, 8):
            return hmac.new(key, challenge).digest()
        return hmac.new(key, challenge, "md5").digest()
    return hashlib.md5(key + challenge).hexdigest().encode()


def receive(s, count):
    data = b""
    while len(data) < count:
        piece = s.recv(count - len(data))
        if not piece:
            raise EOFError(data)
        data += piece
    return data


def packed(form, message):
    return struct.pack(form, len(message)) + message


def answer(s, form):
    (count,) = struct.unpack(form, receive(s, 4))
    return receive(s, count)


def whole(s, proof, first):
    s.sendall(proof)
    s.sendall(first)


def glued(s, proof, first):
    s.sendall(proof + first)


def in_pieces(s, proof, first):
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for n in range(len(proof)):
        s.sendall(proof[n : n + 1])
    time.sleep(0.01)
    for piece in (first[:3], first[3:5], first[5:]):
        s.sendall(piece)


def framed(how, form, address):
    """What comes back of a first message that is sent in each way, and of some more."""
    met = []
    for send in (whole, glued, in_pieces):
        with connect(address) as s:
            proof = prove(how, key, receive(s, 10))
            send(s, proof, packed(form, b"the first command"))
            met.append(answer(s, form).decode())
            for size in task["sizes"]:
                message = os.urandom(size)
                s.sendall(packed(form, message))
                assert answer(s, form) == message, size
    return met


def refused(how, form, address):
    """All that a wrong key is told."""
    with connect(address) as s:
        glued(s, prove(how, b"another key", receive(s, 10)), packed(form, b"let me in"))
        return s.recv(100).decode()


def bare(how, address, thing):
    """What comes back of something sent as JSON with no length, in each way."""
    met = []
    for send in (whole, glued, in_pieces):
        with connect(address) as s:
            send(s, prove(how, key, receive(s, 10)), json.dumps(thing).encode())
            met.append(json.loads(s.recv(4096).decode()))
    return met


def readme():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(task["readme"], {})
    return printed.getvalue().strip()


met = {
    "framed": {name: framed(*args) for name, args in task["framed"].items()},
    "refused": {name: refused(*args) for name, args in task["framed"].items()},
    "bare": {name: bare(*args) for name, args in task["bare"].items()},
    "readme": readme(),
}
print(json.dumps(met))
