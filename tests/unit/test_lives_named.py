"""Of which life of a log a reader's positions are: it may know of a later one from others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.unit.link_groups import SOME, Group
from thespian_dc.journal.api import open_journal
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.replication_handshake import ReplicaStart, ReplicaStarted
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.roles import Origin
from thespian_dc.stream.replica_group import ReplicaGroup, ReplicaReading


def said_to_us(progress: LinkProgress, generation: int) -> ReplicaStart:
    """By a reader that is so far, to the replica of whose log others told it this generation."""
    group = Group()
    group.group.end()
    roles = group.group._roles
    origins = {**roles.origins, "us": Origin("journal", 2, generation)}
    group.group.change_roles(replace(roles, origins=origins), roles)
    group.group.begin({"us": progress, "ap": LinkProgress()}, SOME)
    return next(one.said for one in group.now_open() if one.peer == "us")


def trusted(said: ReplicaStart, generation: int) -> bool:
    """Does "us", whose log is in this generation, take these positions for such of it?"""
    setting = Replication("cart", "us", [Peer("eu", "localhost:1"), Peer("ap", "localhost:2")])
    begun = ReplicaStarted("us", "cart", ("ap", "eu", "us"), generation=generation)
    with ThreadPoolExecutor() as pool:
        group = ReplicaGroup(setting, open_journal("memory:lives"), 2, pool)
        return ReplicaReading(group, said, begun).trusts_positions


@pytest.mark.parametrize("coming_in", [frozenset(), frozenset("a")])
@pytest.mark.parametrize(("of", "is_trusted"), [(0, False), (1, True)])
def test_positions_of_an_earlier_life_prove_nothing(
    coming_in: frozenset[str], of: int, is_trusted: bool
) -> None:
    """Taken for such of the present life they would be more than there is: the log would be
    restored again, and again, as long as something comes into the reader's scope."""
    at = Group().now_open()[0].positions
    progress = LinkProgress("journal", of, at, SOME.filter, coming_in=coming_in)
    said = said_to_us(progress, generation=1)
    assert [one.generation for one in said.origins if one.replica == "us"] == [1]
    assert trusted(said, generation=1) == is_trusted
