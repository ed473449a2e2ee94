"""The classic login clients: json.dumps of a name and a password, then recv; as it is, and with a
length before it. The task comes as JSON on standard input, the answers go out as JSON."""

import json
import socket
import struct
import sys

task = json.loads(sys.stdin.buffer.read().decode())


def receive(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def bare(username, passwd):
    with socket.create_connection(("127.0.0.1", task["bare"])) as sock:
        sock.sendall(json.dumps({"username": username, "passwd": passwd}).encode())
        return sock.recv(1024).decode()


def framed(username, passwd):
    with socket.create_connection(("127.0.0.1", task["framed"])) as sock:
        message = json.dumps({"username": username, "passwd": passwd}).encode()
        sock.sendall(struct.pack("!i", len(message)) + message)
        (count,) = struct.unpack("!i", receive(sock, 4))
        return receive(sock, count).decode()


print(json.dumps([login(*attempt) for login in (bare, framed) for attempt in task["attempts"]]))
