"""Hot standby in processes: one replica takes commands, the other one follows and takes over."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.processes.replicas import WITHIN_S, Read, Replica, Tally, agree, replicas
from thespian_dc.crdt.api import CRDT_TYPES
from thespian_dc.model.replication_errors import StandbyError
from thespian_dc.replication.management import Replicas
from thespian_dc.testkit.eventually import eventually

Two = dict[str, Replica]


class Kept(Tally):
    """Its state can be stored."""

    states = CRDT_TYPES  # as users write it


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """a is active at first; a standby answers what it holds."""
    folder = tmp_path_factory.mktemp("standby")
    with replicas(folder, "ab", active="a", queries=[Read]) as found:
        yield found


def api(replica: Replica) -> Replicas:
    return Replicas(replica.settings.journal, "tally")


def is_listed(replica: Replica) -> bool:
    """Something is."""
    return api(replica).status().listed.total > 0


def refuses(replica: Replica) -> StandbyError:
    """What a standby answers to a command."""
    with pytest.raises(StandbyError) as refused:
        replica.change("x", 1)
    return refused.value


def test_a_standby_follows_answers_queries_and_names_the_active(pair: Two) -> None:
    a, b = pair.values()
    a.change("x", 5)
    agree([a, b], "x", (5, {"a": 1}))
    assert (refuses(b).active, refuses(b).epoch) == ("a", 1)


def test_a_promotion_takes_over_all_and_the_former_stands_by(pair: Two) -> None:
    a, b = pair.values()
    for _ in range(50):
        a.change("taken", 1)
    promoted = api(b).promote(timeout_s=WITHIN_S)
    assert promoted.epoch == 2
    assert {peer: one.events for peer, one in promoted.behind.items()} == {"a": 0}
    assert b.read("taken") == (50, {"a": 50}), "it has all that, before it takes anything"
    eventually(lambda: refuses(a).active == "b", WITHIN_S)
    eventually(lambda: api(b).status().roles.is_active, WITHIN_S)

    def takes() -> bool:
        try:
            b.change("taken", 1)
        except StandbyError:
            return False
        return True

    eventually(takes, WITHIN_S)
    agree([a, b], "taken", (51, {"a": 50, "b": 1}))


def test_the_role_outlives_a_stop(pair: Two) -> None:
    a, b = pair.values()
    b.client.close()
    b.node.stop()
    b.begin()
    b.change("again", 1)
    agree([a, b], "again", (1, {"b": 1}))
    assert refuses(a).active == "b"


def test_after_a_demotion_nobody_is_active_until_one_is_promoted(pair: Two) -> None:
    a, b = pair.values()
    assert api(b).demote() == 3
    eventually(lambda: refuses(b).active == "", WITHIN_S)
    eventually(lambda: refuses(a).active == "", WITHIN_S)
    assert api(a).promote(timeout_s=WITHIN_S).epoch == 4
    eventually(lambda: refuses(b).active == "a", WITHIN_S)


@pytest.mark.parametrize(
    ("late_events", "what", "value"),
    [
        ("apply", "late", (111, {"a": 2, "b": 1})),
        ("set_aside", "late_set_aside", (101, {"a": 1, "b": 1})),
    ],
)
def test_a_forced_promotion_forks_and_says_so(
    tmp_path: Path, late_events: str, what: str, value: tuple[int, dict[str, int]]
) -> None:
    """a is gone when b is promoted; what only a had comes later, and is listed: as concurrent, or
    it is set aside, at a, too, which had applied it."""
    with replicas(
        tmp_path, "ab", active="a", entity=Kept, queries=[Read], late_events=late_events
    ) as found:
        a, b = found.values()
        a.change("x", 1)
        agree([b], "x", (1, {"a": 1}))
        b.client.close()
        b.node.stop()
        a.change("x", 10)  # b never sees it before it is promoted
        a.client.close()
        a.node.stop()
        b.begin()
        promoted = api(b).promote(timeout_s=WITHIN_S, force=True)
        assert promoted.behind["a"].events is None
        eventually(lambda: api(b).status().roles.is_active, WITHIN_S)

        def takes() -> bool:
            try:
                b.change("x", 100)
            except StandbyError:
                return False
            return True

        eventually(takes, WITHIN_S)
        a.begin()
        agree([a, b], "x", value)
        assert refuses(a).active == "b"
        for one in (a, b):
            eventually(partial(is_listed, one), WITHIN_S)
            [(_, listed)] = api(one).status().listed.newest
            assert (listed.what, listed.entity_id, listed.origin, listed.n) == (what, "x", "a", 2)
