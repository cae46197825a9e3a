"""Frames that are handed over past Thespian: whole, in order, or not at all."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_host_shell import Shell
from thespian_dc.entity.handing import (
    HANDED_BYTES_MAX,
    FrameReceiver,
    FrameSender,
    receive_frames,
    unpack_handed,
)
from thespian_dc.entity.protocol import CommandFrame, ReplyFrame, TypeRoutes
from thespian_dc.entity.router import Router
from thespian_dc.entity.router_core import Outgoing
from thespian_dc.shell import datagrams
from thespian_dc.shell.addresses import address_of
from thespian_dc.shell.doorbell import open_bell
from thespian_dc.shell.frames import pack_items

HOST, CLIENT = "127.0.0.1:1", "127.0.0.1:2"


@pytest.fixture
def receiver(socket_folder: Path) -> Iterator[FrameReceiver]:
    opened = receive_frames(HOST)
    assert opened is not None
    yield opened
    opened.close()


@pytest.fixture
def sender() -> Iterator[FrameSender]:
    made = FrameSender(CLIENT)
    yield made
    made.close()


def frame(nr: int, size: int = 10) -> CommandFrame:
    return CommandFrame("c", nr, b"x" * size)


def test_what_is_handed_over_arrives_whole_and_in_order(
    receiver: FrameReceiver, sender: FrameSender
) -> None:
    """With the address that answers go to."""
    sizes = [10, HANDED_BYTES_MAX]
    assert all(sender.hand(HOST, frame(nr, size)) for nr, size in enumerate(sizes))
    assert select.select([receiver], [], [], 5)[0]
    for nr, size in enumerate(sizes):
        found = receiver.take()
        assert found is not None
        address, taken = found
        assert (address, taken.client_id, taken.frame_nr) == (CLIENT, "c", nr)
        assert taken.blob == b"x" * size
    assert receiver.take() is None


def test_what_cannot_be_handed_over_says_so(receiver: FrameReceiver, sender: FrameSender) -> None:
    """It goes by Thespian then: a frame that is too large, a host that is not here, or stuck."""
    assert not sender.hand(HOST, frame(1, HANDED_BYTES_MAX + 1))
    assert not sender.hand("127.0.0.1:3", frame(1))
    assert not sender.hand("", frame(1))
    handed = 0
    while sender.hand(HOST, frame(handed)):
        handed += 1
    assert [receiver.take() is not None for _ in range(handed + 1)] == [True] * handed + [False]


def test_a_host_that_has_ended_takes_nothing(receiver: FrameReceiver, sender: FrameSender) -> None:
    """Also one that had frames handed over before."""
    assert sender.hand(HOST, frame(1))
    receiver.close()
    assert not sender.hand(HOST, frame(2))


@pytest.mark.usefixtures("socket_folder")
def test_a_listener_of_another_kind_gets_no_frames(sender: FrameSender) -> None:
    """Addresses are used again: by a producer now, whose bell would swallow them."""
    bell = open_bell(HOST)
    assert bell is not None
    assert not sender.hand(HOST, frame(1))
    bell.close()


def test_the_same_address_in_another_network_is_another_host(
    receiver: FrameReceiver, sender: FrameSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers may share a folder and call themselves the same."""
    here = datagrams._network()
    monkeypatch.setattr(datagrams, "_network", lambda: here + 1)
    assert not sender.hand(HOST, frame(1))


@given(st.binary(max_size=200))
def test_any_other_datagram_is_a_lost_frame(datagram: bytes) -> None:
    """Never an error in the host."""
    assert unpack_handed(datagram) is None


def test_what_is_no_frame_hides_none(receiver: FrameReceiver, sender: FrameSender) -> None:
    """Its neighbours are taken."""
    sender._sender.send(HOST, b"\xc1")
    assert sender.hand(HOST, frame(2))
    found = receiver.take()
    assert found is not None
    assert found[1].frame_nr == 2


class Routed:
    """A router that knows its host, and what goes by Thespian."""

    def __init__(self, sender: FrameSender) -> None:
        self.sent: list[tuple[CommandFrame, Callable[[bool], None]]] = []
        self.router = Router("c", self._transmit, lambda: None, lambda _: None)
        self.router.sender = sender
        self.router.on_routes([{"cart": TypeRoutes(1, ((HOST, 1),))}])

    def _transmit(self, _: str, frame: CommandFrame, on_done: Callable[[bool], None]) -> None:
        self.sent.append((frame, on_done))

    def tell(self, body: bytes = b"") -> None:
        self.router.submit([Outgoing("cart", "c-1", body)], 5.0)

    def acknowledge(self, *frame_nrs: int) -> None:
        self.router.on_reply(ReplyFrame("m", "c", frame_nrs, pack_items([])), HOST)


def test_a_frame_is_handed_over_where_none_before_it_is_on_its_way(
    receiver: FrameReceiver, sender: FrameSender
) -> None:
    """Of one by Thespian and one past it nobody knows which the host sees first; so the second one
    waits for the word that the first was taken, or goes by Thespian too."""
    routed = Routed(sender)
    routed.tell()
    routed.tell()
    assert [taken[1].frame_nr for taken in iter(receiver.take, None)] == [1]
    assert [sent.frame_nr for sent, _ in routed.sent] == [2]
    routed.sent[0][1](True)
    routed.acknowledge(1)
    routed.tell()
    assert [sent.frame_nr for sent, _ in routed.sent] == [2, 3]
    routed.sent[1][1](True)
    routed.acknowledge(2, 3)
    routed.tell()
    assert [taken[1].frame_nr for taken in iter(receiver.take, None)] == [4]
    assert len(routed.sent) == 2


def test_what_nobody_takes_goes_by_thespian(socket_folder: Path, sender: FrameSender) -> None:
    """Which tells that the host is gone."""
    routed = Routed(sender)
    routed.tell()
    assert [sent.frame_nr for sent, _ in routed.sent] == [1]


class HostShell(Shell):
    """Notes the frames it takes."""

    def __init__(self, receiver: FrameReceiver) -> None:
        super().__init__()
        self.taken: list[tuple[int, Any]] = []
        actor: Any = self.actor
        actor._handed, actor._counts = receiver, {"frames_handed": 0}
        actor._on_frame = lambda frame, sender: self.taken.append((frame.frame_nr, sender))
        actor._end_round = lambda: self.taken.append((-1, None))


def test_a_host_takes_what_was_handed_over_first(
    receiver: FrameReceiver, sender: FrameSender
) -> None:
    """Its client sent it before the frame that Thespian brings."""
    shell = HostShell(receiver)
    assert sender.hand(HOST, frame(1))
    shell.actor.on_message(frame(2), "by Thespian")
    client = address_of(CLIENT)
    assert shell.taken == [(1, client), (2, "by Thespian"), (-1, None)]
    assert shell.actor._counts["frames_handed"] == 1


def test_what_was_handed_over_together_is_one_round(
    receiver: FrameReceiver, sender: FrameSender
) -> None:
    """Its commits go to the journal in one call."""
    shell = HostShell(receiver)
    for nr in (1, 2):
        assert sender.hand(HOST, frame(nr))
    shell.actor.on_readable()
    assert [nr for nr, _ in shell.taken] == [1, 2, -1]
