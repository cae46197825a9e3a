"""A Thespian transport that is closed while messages are under way: real sockets, no actor."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from thespian.system.transport import TransmitIntent
from thespian.system.transport.TCPTransport import ExternalTransportCopy, TCPTransport

from thespian_dc.shell.addresses import address_of
from thespian_dc.shell.transports import close_transport


@pytest.fixture
def deaf() -> Iterator[list[str]]:
    """Three addresses that take connections and never answer, as a host that stands still does."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
    for listener in listeners:
        listener.close()


def open_sockets() -> set[str]:
    """Descriptors of this process that are sockets, by inode."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return {link for link in links if link.startswith("socket:")}


class Sender:
    """A transport whose every message is sent again, to the next address, when it failed."""

    def __init__(self, addresses: list[str]) -> None:
        admin = address_of("127.0.0.1:9")
        self.transport: Any = TCPTransport(ExternalTransportCopy(), admin, False, False)
        self.addresses, self.sent = addresses, 0

    def send(self, nr: int) -> None:
        self.sent += 1
        again = nr + 1
        intent = TransmitIntent(
            address_of(self.addresses[nr % len(self.addresses)]),
            ("command", nr),
            onError=lambda _result, _intent: self.send(again),
            maxPeriod=timedelta(seconds=10),
        )
        self.transport.scheduleTransmit(None, intent)


@pytest.mark.parametrize("messages", [1, 2, 40])
def test_closing_with_messages_under_way_sends_nothing_and_leaves_no_socket(
    deaf: list[str], messages: int
) -> None:
    """Thespian tells each sender that its message failed, while it walks over what is under way: a
    sender that tries again changes that under its feet (40: some wait for others to end)."""
    gc.collect()
    before = open_sockets()
    sender = Sender(deaf)
    for nr in range(messages):
        sender.send(0 if messages == 2 else nr)
    sender.transport.run(None, timedelta(milliseconds=20))
    assert len(open_sockets() - before) > 1, "nothing is under way"
    gc.disable()
    try:
        close_transport(sender.transport)
        assert open_sockets() <= before
    finally:
        gc.enable()
    assert sender.sent == messages
    close_transport(sender.transport)
    sender.transport.close()


def test_closing_ends_idle_and_incoming_connections() -> None:
    """What is not under way is open too: where an answer came from, and where one came to."""
    gc.collect()
    before = open_sockets()
    one, other = Sender([]), Sender([])
    where = f"127.0.0.1:{other.transport.socket.getsockname()[1]}"
    one.addresses = [where]
    one.send(0)
    for _ in range(200):
        one.transport.run(None, timedelta(milliseconds=1))
        if other.transport.run(None, timedelta(milliseconds=1)):
            break
    one.transport.run(None, timedelta(milliseconds=20))
    assert one.transport._openSockets, "the message was not acknowledged"
    close_transport(one.transport)
    close_transport(other.transport)
    assert open_sockets() <= before
