"""What a link through the test proxy loses, and what it does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from thespian_dc.testkit.eventually import never
from thespian_dc.testkit.proxy import FROM, TO, FaultProxy


class Ends:
    """Both ends of a connection through a proxy."""

    def __init__(self, proxy: FaultProxy, listener: socket.socket) -> None:
        self.proxy, self._listener = proxy, listener
        self.connect()

    def connect(self) -> None:
        self.caller = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=10)
        self.target, _ = self._listener.accept()
        self.target.settimeout(10)

    def to(self, word: bytes) -> bytes:
        """What the target hears of what the caller says."""
        return _said(self.caller, self.target, word)

    def back(self, word: bytes) -> bytes:
        return _said(self.target, self.caller, word)


def _said(speaker: socket.socket, hearer: socket.socket, word: bytes) -> bytes:
    speaker.sendall(word)
    return hearer.recv(100)


def _hears(end: socket.socket) -> bool:
    end.setblocking(False)
    try:
        return bool(end.recv(100))
    except BlockingIOError:
        return False
    finally:
        end.settimeout(10)


@pytest.fixture
def ends() -> Iterator[Ends]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        FaultProxy("127.0.0.1", listener.getsockname()[1]) as proxy,
    ):
        yield Ends(proxy, listener)


@pytest.mark.parametrize("way", [TO, FROM])
def test_one_way_of_a_link_may_be_silent_alone(ends: Ends, way: str) -> None:
    """What was lost there is missing for ever: that connection stays as it is, a new one is
    whole."""
    assert (ends.to(b"1"), ends.back(b"2")) == (b"1", b"2")
    ends.proxy.blackhole(way)
    silent, open_ = (ends.caller, ends.target) if way == TO else (ends.target, ends.caller)
    silent.sendall(b"lost")
    assert _said(open_, silent, b"3") == b"3"
    never(lambda: _hears(open_), 0.2)
    ends.proxy.heal()
    silent.sendall(b"late")
    assert _said(open_, silent, b"4") == b"4"
    never(lambda: _hears(open_), 0.2)
    ends.connect()
    assert (ends.to(b"5"), ends.back(b"6")) == (b"5", b"6")
