"""A reader's end of a call between replicas: what it takes for the other end's word, what it tells.
No gRPC."""

from __future__ import annotations

import pytest

from thespian_dc.model.replica_errors import OtherEntityTypeError, WrongReplicaError
from thespian_dc.model.replication_handshake import (
    Known,
    OriginPositions,
    ReplicaStart,
    ReplicaStarted,
)
from thespian_dc.model.stream_errors import MalformedMessageError
from thespian_dc.stream.consumer_core import ConsumerCore
from thespian_dc.wire.conversion import PROTOCOL, Credit, Started

OURS = ReplicaStart("us", "cart", ("eu", "us"))
THEIRS = ReplicaStarted("eu", "cart", ("eu", "us"))


def call(replica: ReplicaStart | None = OURS) -> ConsumerCore:
    return ConsumerCore("replica:cart", "shop/us", "", {}, Credit(0, 0), "eu:8101", 1000, 0,
                        replica=replica, replica_expected="eu")  # fmt: skip


def started(replica: ReplicaStarted | None) -> Started:
    return Started(PROTOCOL, "journal", "cart", 2, {}, 1000, replica)


def test_it_says_who_it_is() -> None:
    assert call().first("k").replica == OURS
    assert call(None).first("k").replica is None


def test_the_expected_replica_is_taken() -> None:
    core = call()
    assert core.on_started(started(THEIRS), 0)
    assert core.on_replica(THEIRS._replace(epoch=3), 5).epoch == 3


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (None, MalformedMessageError),
        (THEIRS._replace(replica_id="ap"), WrongReplicaError),
        (THEIRS._replace(entity_type="order"), OtherEntityTypeError),
    ],
)
def test_anybody_else_is_not(said: ReplicaStarted | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        call().on_started(started(said), 0)


def test_nor_is_a_change_before_the_answer_or_of_another_replica() -> None:
    core = call()
    with pytest.raises(MalformedMessageError):
        core.on_replica(THEIRS, 0)
    core.on_started(started(THEIRS), 0)
    with pytest.raises(WrongReplicaError):
        core.on_replica(THEIRS._replace(replica_id="ap"), 0)


def test_a_consumer_that_is_no_replica_is_told_of_none() -> None:
    with pytest.raises(MalformedMessageError):
        call(None).on_started(started(THEIRS), 0)


def test_what_it_has_is_told_once_and_joined_while_it_waits() -> None:
    """By origin and generation the last word; of all else the last one."""
    core = call()
    core.know(Known((OriginPositions("ap", 0, (1, 1)), OriginPositions("ap", 1, (0, 0))), 1, "eu"))
    assert core.take_known() is None, "nobody listens yet"
    core.on_started(started(THEIRS), 0)
    core.know(Known((OriginPositions("ap", 0, (2, 1)),), 2, "us"))
    assert core.take_known() == Known(
        (OriginPositions("ap", 0, (2, 1)), OriginPositions("ap", 1, (0, 0))), 2, "us"
    )
    assert core.take_known() is None
