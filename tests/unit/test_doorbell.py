"""Hints from hosts to producers: quick, bounded, and of no consequence when they are lost."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.entity.publishing import Publishing
from thespian_dc.journal.api import Appended, Outcome
from thespian_dc.model.ids import SliceKey
from thespian_dc.model.record import Commit, make_commit
from thespian_dc.shell.datagrams import DATAGRAM_BYTES_MAX
from thespian_dc.shell.doorbell import (
    HINT_BYTES_MAX,
    Bell,
    hint_of,
    open_bell,
    pack_hint,
    unpack_hint,
)

KEY = SliceKey("cart", 3)
ADDRESS = "127.0.0.1:1"


@pytest.fixture
def bell(socket_folder: Path) -> Iterator[Bell]:
    opened = open_bell(ADDRESS)
    assert opened is not None
    yield opened
    opened.close()


def commit(base: int, size: int = 10) -> Commit:
    return make_commit(KEY, base, b"w" * 16, 1, 0, [("c-1", b"\xc4\xff" + b"x" * size)])


def test_a_round_rings_once_with_its_commits(bell: Bell) -> None:
    """Small commits arrive whole: the producer need not read what it is told."""
    publishing = Publishing()
    publishing.on_producers([ADDRESS])
    made = [commit(0), commit(1)]
    for one in made:
        publishing.publish(one)
    publishing.flush()
    publishing.flush()
    assert select.select([bell], [], [], 5)[0]
    [hint] = bell.hints()
    assert (hint.commits, hint.heads) == (made, {})
    assert bell.hints() == []


def test_what_was_appended_rings_at_once_and_once(bell: Bell) -> None:
    """By the append's thread, before the host's round that would publish it; what is found durable
    otherwise waits for the round."""
    publishing = Publishing()
    publishing.on_producers([ADDRESS])
    done, failed, found = (replace(commit(n), write_id=bytes([n]) * 16) for n in range(3))
    answers = [Appended(done, Outcome.DONE), Appended(failed, Outcome.UNKNOWN)]
    for answer in answers:
        publishing.on_appended(answer)
    assert [hint.commits for hint in bell.hints()] == [[done]]
    publishing.on_results(answers)
    publishing.publish(done)
    publishing.publish(found)
    publishing.flush()
    assert [hint.commits for hint in bell.hints()] == [[found]]
    publishing.publish(done)  # another round knows nothing of it
    publishing.flush()
    assert [hint.commits for hint in bell.hints()] == [[done]]


def test_much_is_told_by_heads_alone() -> None:
    """The producer reads the journal anyway; a datagram has its limits."""
    hint = hint_of([commit(base, HINT_BYTES_MAX // 10) for base in range(100)])
    assert (list(hint.commits), dict(hint.heads)) == ([], {KEY: 100})
    every = {SliceKey("x" * 100, number): 2**62 for number in range(1024)}
    assert len(pack_hint(hint._replace(heads=every))) < DATAGRAM_BYTES_MAX


def test_without_producers_nothing_is_kept(bell: Bell) -> None:
    """A node without streams pays nothing."""
    publishing = Publishing()
    publishing.publish(commit(0))
    publishing.on_producers([ADDRESS])
    publishing.flush()
    assert bell.hints() == []


def test_a_producer_that_is_not_there_is_no_error(socket_folder: Path) -> None:
    """It was killed, or starts: hosts do not care."""
    publishing = Publishing()
    publishing.on_producers([ADDRESS, "127.0.0.1:2"])
    publishing.publish(commit(0))
    publishing.flush()


def test_a_full_queue_is_no_error(bell: Bell) -> None:
    """A producer that is stopped or stuck costs a host nothing: hints are lost."""
    publishing = Publishing()
    publishing.on_producers([ADDRESS])
    for base in range(2000):
        publishing.publish(commit(base))
        publishing.flush()
    assert 0 < len(bell.hints()) < 2000


def test_the_next_process_with_this_address_takes_the_bell_over(bell: Bell) -> None:
    """A killed producer leaves its socket file behind."""
    again = open_bell(ADDRESS)
    assert again is not None
    again.close()


def test_what_killed_producers_left_is_swept(bell: Bell, socket_folder: Path) -> None:
    """Addresses change with every restart: files of the dead would pile up. The living keep
    theirs."""
    [made] = socket_folder.iterdir()
    [kept] = made.iterdir()
    left = made / kept.name.replace("127.0.0.1_1", "127.0.0.1_7")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(str(left))
    other = open_bell("127.0.0.1:2")
    assert other is not None
    names = {one.name for one in made.iterdir()}
    assert left.name not in names
    assert kept.name in names
    assert len(names) == 2
    other.close()


def test_a_folder_that_others_can_enter_is_not_used(socket_folder: Path) -> None:
    """What rings is believed: only this user may ring."""
    assert open_bell(ADDRESS) is not None
    [made] = socket_folder.iterdir()
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    assert open_bell(ADDRESS) is None


@given(st.binary(max_size=200))
def test_any_other_datagram_is_a_lost_hint(datagram: bytes) -> None:
    """Never an error in the producer."""
    hint = unpack_hint(datagram)
    assert len(hint.commits) + len(hint.heads) >= 0
