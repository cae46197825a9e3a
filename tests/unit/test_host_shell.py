"""The host actor performs what its core decides: here without Thespian, what goes out is looked
at."""

from __future__ import annotations

from typing import Any

from tests.unit.host_core import Host
from thespian_dc.entity.actions import Answer, Forward
from thespian_dc.entity.answers import Answers
from thespian_dc.entity.host_actor import HostActor
from thespian_dc.entity.protocol import (
    Command,
    CommandFrame,
    ReplyAddress,
    ReplyFrame,
    Route,
    Status,
)
from thespian_dc.model.ids import SliceKey
from thespian_dc.shell.frames import unpack_items
from thespian_dc.shell.outbox import Outbox
from thespian_dc.testkit.entities import Account, Deposit


class Shell:
    """A host actor around a core that owns nothing."""

    def __init__(self) -> None:
        self.frames: list[ReplyFrame] = []
        self.host = Host(Account)
        self.actor = HostActor()
        self.actor.member_id = "m1"
        self.actor._elsewhere = {}
        outbox = Outbox(self._transmit)
        self.actor._answers = Answers("m1", outbox, "echo", lambda _: None)

    def _transmit(self, address: Any, message: Any, on_done: Any) -> None:
        self.frames.append(message)
        on_done(True)

    def send(self, *commands: Any) -> list[tuple[int, int, Any]]:
        self.actor._perform(self.host.core.on_commands(commands, self.host.now_us))
        self.actor._answers.flush()
        return [item for frame in self.frames for item in unpack_items(frame.blob)]


def test_a_command_for_anothers_slice_is_answered_with_its_owner() -> None:
    """The client follows; and what stands behind that answer is performed all the same."""
    shell = Shell()
    route = Route("account", 0, "127.0.0.1:9", 4)
    shell.actor._elsewhere[SliceKey("account", 0)] = route
    commands = [shell.host.command(Account, one, Deposit(1)) for one in "ab"]
    assert shell.send(*commands) == [(1, Status.NOT_OWNER, route), (2, Status.NOT_OWNER, route)]


def test_a_client_that_was_dropped_may_still_be_told_of_the_owner() -> None:
    """It was silent for a while, no more: an error here would lose what stands behind."""
    shell = Shell()
    command = shell.host.command(Account, "a", Deposit(1))
    [action] = shell.host.core.on_commands([command], shell.host.now_us)
    shell.actor._answers._drop("client")
    shell.actor._perform([action])
    shell.actor._answers.flush()
    assert len(shell.frames) == 1


def test_what_an_entity_of_this_host_asked_is_sent_on_from_here() -> None:
    """The asking entity follows nobody: its host does, and brings it the answer."""
    host = Host(Account)
    asked = ReplyAddress("host", "m1", 7)
    command = Command("account", "a", Deposit(1), asked, "id")
    [forward] = host.core.on_commands([command], host.now_us)
    assert isinstance(forward, Forward)
    assert (forward.ref.entity_id, forward.reply_to, forward.command_id) == ("a", asked, "id")
    assert not any(isinstance(one, Answer) for one in host.core.on_tick(host.now_us + 1))


def test_a_frame_that_a_later_one_overtook_is_known_as_such() -> None:
    """What is in it may have been sent again in the later one: its marks of a first time say
    nothing any more."""
    answers = Shell().actor._answers
    for frame_nr, is_overtaken in ((3, False), (4, False), (2, True), (5, False)):
        frame = CommandFrame("client", frame_nr, b"")
        assert answers.is_new(frame, "address")
        assert answers.is_overtaken(frame) is is_overtaken


def test_a_client_that_may_send_no_more_frames_is_acknowledged_at_once() -> None:
    """The first frame of tells can wait: the client sends another one all the same."""
    shell = Shell()
    answers = shell.actor._answers
    for frame_nr, owes_several in ((1, False), (2, True)):
        assert answers.is_new(CommandFrame("client", frame_nr, b""), "address")
        assert answers.owes_several("client") is owes_several
    answers.hurry("client")
    answers.flush()
    assert [frame.acknowledged for frame in shell.frames] == [(1, 2)]
    assert not answers.owes_several("client")
