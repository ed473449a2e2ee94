"""A listener in Python, until it is killed. Prints its port, then how each connection ended.

It echoes; a JSON-RPC request is answered with itself as the result."""

import importlib
import json
import sys

task = json.load(sys.stdin.buffer)
sys.path[:0] = task["path"]
package = importlib.import_module(task["package"])
Listener = importlib.import_module(task["package"] + ".connection").Listener


def answer(message):
    if message.startswith(b'{"jsonrpc"'):
        return b'{"jsonrpc":"2.0","id":1,"result":' + message + b"}"
    return message


def serve(listener):
    with listener.accept() as c:
        print("let in", flush=True)
        while True:
            c.send_bytes(answer(c.recv_bytes()))


with Listener(("127.0.0.1", 0), authkey=task["key"].encode()) as listener:
    print(listener.address[1], flush=True)
    while True:
        try:
            serve(listener)
        except (package.AuthenticationError, EOFError, OSError) as end:
            print(type(end).__name__, flush=True)
