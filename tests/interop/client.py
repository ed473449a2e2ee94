"""What a client in Python meets: the task comes as JSON on standard input, what was met goes out
as JSON. The test judges it."""

import contextlib
import importlib
import io
import json
import os
import sys
import time

task = json.load(sys.stdin.buffer)
sys.path[:0] = task["path"]
package = importlib.import_module(task["package"])
Client = importlib.import_module(task["package"] + ".connection").Client
tcp = tuple(task["echo"])
key = task["key"].encode()


def ask(c, message):
    c.send_bytes(message)
    return c.recv_bytes()


def verdict(address, key):
    try:
        with Client(address, authkey=key) as c:
            return ask(c, b"let in").decode()
    except package.AuthenticationError:
        return "AuthenticationError"


def echoed(address):
    with Client(address, authkey=key) as c:
        payloads = map(os.urandom, task["sizes"])
        return [len(payload) for payload in payloads if ask(c, payload) == payload]


def objects():
    thing = {"天王盖地虎": [None, 1.5, "宝塔镇河妖"], "bytes": bytes(range(256))}
    with Client(tcp, authkey=key) as c:
        c.send(thing)
        return c.recv() == thing


def seconds(c, payload):
    start = time.perf_counter()
    ask(c, payload)
    return time.perf_counter() - start


def echo_seconds():
    with Client(tcp, authkey=key) as c:
        return [seconds(c, bytes(20000)) for _ in range(51)]


def first_seconds():
    def first():
        with Client(tcp, authkey=key) as c:
            return seconds(c, b"first")

    return [first() for _ in range(11)]


def readme():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(task["readme"], {})
    return printed.getvalue().strip()


def pickle_to_rpc():
    with Client(tuple(task["rpc"]), authkey=os.environb[b"GATELOOP_AUTHKEY"]) as c:
        c.send(["no", "JSON"])
        return json.loads(c.recv_bytes().decode())["error"]["code"]


met = {
    "wrong_key": verdict(tcp, b"not the key"),
    "right_key": verdict(tcp, key),
    "digests": [verdict(tuple(address), key) for address in task["digests"]],
    "echoed": echoed(tcp),
    "echoed_on_unix": echoed(task["unix"]),
    "objects": objects(),
    "echo_seconds": echo_seconds(),
    "first_seconds": first_seconds(),
    "readme": readme(),
    "pickle_to_rpc": pickle_to_rpc(),
}
print(json.dumps(met))
