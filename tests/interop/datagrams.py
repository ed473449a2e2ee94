"""What a client in Python that sends datagrams meets: the task comes as JSON on standard input, what
was met goes out as JSON. The test judges it."""

import contextlib
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
HEAD = struct.Struct("!BBQ16s")


def mac(key, signed):
    return hmac.new(key, signed, "sha256").digest()


def connected(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.connect(tuple(address))
    s.settimeout(60)
    return s


def request(payload, key=key, kind=0, off=0.0):
    head = HEAD.pack(1, kind, int((time.time() + off) * 1000), os.urandom(16))
    return head + payload + mac(key, head + payload)


def reply_to(request, datagram):
    """The payload of a reply, or what is wrong with it."""
    signed, its_mac = datagram[:-32], datagram[-32:]
    if not hmac.compare_digest(mac(key, signed), its_mac):
        return "not made with the key"
    version, kind, sent_at, ident = HEAD.unpack_from(signed)
    if (version, kind, ident) != (1, 1, request[10:26]):
        return "no reply to this request"
    if abs(time.time() - sent_at / 1000) > 60:
        return "from another time"
    return signed[HEAD.size :]


def ask(s, payload):
    asked = request(payload)
    s.send(asked)
    return reply_to(asked, s.recv(65536))


def echoed(address):
    with connected(address) as s:
        payloads = map(os.urandom, task["sizes"])
        return [len(payload) for payload in payloads if ask(s, payload) == payload]


def dropped():
    """Sends what must not be answered, then what must: how many answers come before that one."""
    once = request(b"once")
    wrong = [
        b"",
        once[:-1],
        request(b"wrong key", key=b"not the key"),
        request(b"a reply", kind=1),
        request(b"late", off=-31),
        request(b"early", off=60),
        once,
        once,
    ]
    answers = 0
    with connected(task["echo"][0]) as s:
        for datagram in wrong:
            s.send(datagram)
        last = request(b"last")
        s.send(last)
        while reply_to(last, s.recv(65536)) != b"last":
            answers += 1
    return answers


def document():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(task["document"], {})
    return printed.getvalue().strip()


print(
    json.dumps(
        {
            "echoed": [echoed(address) for address in task["echo"]],
            "answered": dropped(),
            "document": document(),
        }
    )
)
