"""How calls of Python's own sockets end: the cases of tests/client_socket_ends.rs, by their names.

Prints a JSON object: 0 for success, the errno, or "TimedOut"."""

import errno
import json
import os
import socket
import struct
import tempfile

SHORT = 0.01
PATIENCE = 60
DISCARD = ("127.0.0.1", 9)
ALIEN = ("203.0.113.77", 0)
BROADCAST = ("255.255.255.255", 9)
MISSING = "/no such folder/socket"
TOO_LONG = bytes(65508)

cases = {}
connects = {}


def case(name):
    def note(function):
        cases[name] = function
        return function

    return note


def connect(name):
    def note(function):
        connects[name] = function
        return function

    return note


def end_of(call):
    try:
        result = call()
        return result if isinstance(result, int) and not isinstance(result, bool) else 0
    except socket.timeout:
        return "TimedOut"
    except OSError as error:
        return error.errno


def tcp(timeout=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(timeout)
    return s


def udp():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def unix(timeout=None):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(timeout)
    return s


def bound(s):
    s.bind(("127.0.0.1", 0))
    return s


def silent():
    s = bound(tcp())
    return s, s.getsockname()


def tcp_listener(backlog=1, timeout=None):
    listener = bound(tcp(timeout))
    listener.listen(backlog)
    return listener, listener.getsockname()


def tcp_pair():
    listener, name = tcp_listener()
    client = tcp()
    client.connect(name)
    return client, listener.accept()[0]


def full_pair():
    s, peer = socket.socketpair()
    s.setblocking(False)
    try:
        while True:
            s.send(bytes(65536))
    except BlockingIOError:
        return s, peer


def cut_off():
    s, peer = tcp_pair()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    return s


def udp_to_nobody():
    nobody = bound(udp())
    nobody.connect(DISCARD)
    s = udp()
    s.connect(nobody.getsockname())
    return s, nobody


def full_tcp_queue():
    listener, name = tcp_listener(0)
    first = tcp()
    first.connect(name)
    return [listener, first], name


def full_unix_queue():
    listener, first = unix(), unix()
    listener.bind("")
    listener.listen(0)
    name = listener.getsockname()
    first.connect(name)
    return [listener, first], name


def begun(name):
    s = tcp(0)
    assert s.connect_ex(name) == errno.EINPROGRESS
    return s


def none(result):
    """Python's number of bytes is no code."""
    return None


@case("bind: taken")
def _():
    listener, name = tcp_listener()
    tcp().bind(name)


@case("bind: twice")
def _():
    bound(bound(tcp()))


@case("listen: another listens")
def _():
    first, second = tcp(), tcp()
    for s in first, second:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    second.bind(bound(first).getsockname())
    first.listen(1)
    second.listen(1)


@case("send: a full buffer")
def _():
    s, peer = full_pair()
    return none(s.send(b"x"))


@case("send: a full buffer, for long")
def _():
    s, peer = full_pair()
    s.settimeout(SHORT)
    return none(s.send(b"x"))


@case("send: the sending half is closed")
def _():
    s, peer = tcp_pair()
    s.shutdown(socket.SHUT_WR)
    return none(s.send(b"x"))


@case("send: cut off, and told so")
def _():
    s = cut_off()
    try:
        s.send(b"x")
    except ConnectionResetError:
        return none(s.send(b"x"))


@case("send: UDP to nobody")
def _():
    s, nobody = udp_to_nobody()
    s.send(b"x")
    return none(s.send(b"x"))


@case("recv: nothing is there")
def _():
    s, peer = tcp_pair()
    s.setblocking(False)
    s.recv(1)


@case("recv: nothing comes in time")
def _():
    s, peer = tcp_pair()
    s.settimeout(SHORT)
    s.recv(1)


@case("recv: cut off, and told so")
def _():
    s = cut_off()
    try:
        s.recv(1)
    except ConnectionResetError:
        assert s.recv(1) == b""


@case("recv: UDP from nobody")
def _():
    s, nobody = udp_to_nobody()
    s.send(b"x")
    s.recv(1)


@case("send_all: a full buffer")
def _():
    s, peer = full_pair()
    s.sendall(b"x")


@case("send_all: a full buffer, for long")
def _():
    s, peer = full_pair()
    s.settimeout(SHORT)
    s.sendall(b"x")


@case("send_to: Unix, connected")
def _():
    s, peer = socket.socketpair()
    return none(s.sendto(b"x", MISSING))


NODELAY = socket.IPPROTO_TCP, socket.TCP_NODELAY
cases.update({
    "bind: an alien address": lambda: tcp().bind(ALIEN),
    "bind: no folder": lambda: unix().bind(MISSING),
    "listen: connected": lambda: tcp_pair()[0].listen(1),
    "listen: Unix, without a name": lambda: unix().listen(1),
    "listen: UDP": lambda: udp().listen(1),
    "accept: nobody is there": lambda: tcp_listener(timeout=0)[0].accept(),
    "accept: nobody comes in time": lambda: tcp_listener(timeout=SHORT)[0].accept(),
    "accept: no listener": lambda: bound(tcp()).accept(),
    "accept: UDP": lambda: bound(udp()).accept(),
    "send: TCP, not connected": lambda: none(tcp().send(b"x")),
    "send: cut off": lambda: none(cut_off().send(b"x")),
    "send: Unix, not connected": lambda: none(unix().send(b"x")),
    "send: UDP without a peer": lambda: none(udp().send(b"x")),
    "send: UDP, too long": lambda: none(udp_to_nobody()[0].send(TOO_LONG)),
    "recv: cut off": lambda: cut_off().recv(1),
    "recv: TCP, not connected": lambda: tcp().recv(1),
    "recv: Unix, not connected": lambda: unix().recv(1),
    "send_to: too long": lambda: none(udp().sendto(TOO_LONG, DISCARD)),
    "send_to: broadcast": lambda: none(udp().sendto(b"x", BROADCAST)),
    "send_to: TCP, not connected": lambda: none(tcp().sendto(b"x", DISCARD)),
    "send_to: Unix, not connected": lambda: none(unix().sendto(b"x", MISSING)),
    "shutdown: not connected": lambda: tcp().shutdown(socket.SHUT_WR),
    "peer_name: not connected": lambda: tcp().getpeername(),
    "option: Unix has none": lambda: none(unix().getsockopt(*NODELAY)),
    "option: UDP has none": lambda: none(udp().getsockopt(*NODELAY)),
    "set_option: Unix has none": lambda: unix().setsockopt(*NODELAY, 1),
    "set_option: UDP has none": lambda: udp().setsockopt(*NODELAY, 1),
})


@connect("somebody listens")
def _():
    listener, name = tcp_listener()
    return tcp(), name, listener


@connect("somebody listens, with a time-out")
def _():
    listener, name = tcp_listener()
    return tcp(PATIENCE), name, listener


@connect("not blocking")
def _():
    listener, name = tcp_listener()
    return tcp(0), name, listener


@connect("not blocking, and again")
def _():
    listener, name = tcp_listener()
    return begun(name), name, listener


@connect("going on")
def _():
    others, name = full_tcp_queue()
    return begun(name), name, others


@connect("refused, and the reason was taken")
def _():
    other, name = silent()
    s = begun(name)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    return s, name, other


@connect("connected")
def _():
    s, peer = tcp_pair()
    return s, s.getpeername(), peer


@connect("no answer in time")
def _():
    others, name = full_tcp_queue()
    return tcp(SHORT), name, others


@connect("no place in a Unix queue")
def _():
    others, name = full_unix_queue()
    return unix(0), name, others


@connect("nobody listens")
def _():
    other, name = silent()
    return tcp(), name, other


@connect("nobody listens, with a time-out")
def _():
    other, name = silent()
    return tcp(PATIENCE), name, other


@connect("refused meanwhile")
def _():
    other, name = silent()
    return begun(name), name, other


connects.update({
    "no way": lambda: (tcp(), BROADCAST, None),
    "no such path": lambda: (unix(), MISSING, None),
})

ends = {name: end_of(call) for name, call in cases.items()}
for name, prepare in connects.items():
    s, to, others = prepare()
    ends["connect: " + name] = end_of(lambda: s.connect(to))
    s, to, others = prepare()
    ends["connect_ex: " + name] = end_of(lambda: s.connect_ex(to))
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "datagrams")
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagrams.bind(path)
    ends["connect: another kind"] = end_of(lambda: unix().connect(path))
print(json.dumps(ends))
