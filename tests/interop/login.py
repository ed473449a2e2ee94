"""The classic login client: json.dumps of a name and a password, then recv. The task comes as JSON
on standard input, the answers go out as JSON."""

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


def login(username, passwd):
    with socket.create_connection(("127.0.0.1", task["port"])) as sock:
        message = json.dumps({"username": username, "passwd": passwd}).encode()
        sock.sendall(struct.pack("!i", len(message)) + message)
        (count,) = struct.unpack("!i", receive(sock, 4))
        return receive(sock, count).decode()


print(json.dumps([login(*attempt) for attempt in task["attempts"]]))
