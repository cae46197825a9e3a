"""Who may read a replica's log, and what everybody else is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.streams.asking import Pulled, asked
from tests.streams.certificates import Authority
from tests.streams.material import ENTITY_TYPE, SLICES
from tests.streams.replicas import (
    GROUP,
    OWN,
    READER,
    STREAM,
    THIRD,
    Log,
    ends_with,
    replication,
)
from thespian_dc.entity.api import begin_roles, change_roles, known_roles
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.history import History
from thespian_dc.model.replica_errors import (
    NoReplicaHereError,
    NotAReplicaStreamError,
    OtherEntityTypeError,
    ReplicaIdentityError,
    ReplicaListsDifferError,
    WrongReplicaError,
)
from thespian_dc.model.replication_handshake import (
    REPLICAS_MAX,
    Known,
    OriginFacts,
    ReplicaStart,
    Retiring,
)
from thespian_dc.model.replication_settings import Peer
from thespian_dc.model.role_errors import (
    AheadOfTimeError,
    GroupModeDiffersError,
    OriginChangedError,
    OwnReplicaIdError,
    RetiredReplicaError,
    TooManyReplicasError,
    UnknownReplicaError,
)
from thespian_dc.model.settings import Tls
from thespian_dc.model.stream_errors import PeerNotTrustedError, UnknownStreamError
from thespian_dc.stream.identity import Caller
from thespian_dc.stream.replica_group import unproved
from thespian_dc.testkit.eventually import eventually

A = "c-1"


def test_a_consumer_that_is_no_replica_does_not_find_the_stream(log: Log, link: Any) -> None:
    error = ends_with(link(replica=False).open(), UnknownStreamError)
    assert str(error) == str(UnknownStreamError(STREAM))


def test_nobody_asks_about_a_replica_stream_without_an_id(log: Log, serve: Any) -> None:
    _, port = serve(replication=(replication(),))
    for method, arguments in {"heads": (), "positions_at": (1,)}.items():
        with pytest.raises(UnknownStreamError):
            asked(port, method, *arguments, stream_id=STREAM)


def test_a_peer_that_is_no_replica_is_named(log: Log, link: Any) -> None:
    """As one of an older version is: it knows of no replica streams."""
    reader = link({"replication": ()}).open()
    assert STREAM in str(ends_with(reader, NoReplicaHereError))
    eventually(lambda: reader.source.reconnects >= 2)


def test_a_replica_does_not_read_a_stream_for_consumers(log: Log, link: Any) -> None:
    ends_with(link(stream_id="carts").open(), NotAReplicaStreamError)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "own id": ({"replica_id": OWN}, OwnReplicaIdError, OWN),
    "unknown id": ({"replica_id": "mars"}, UnknownReplicaError, "ap, eu, us"),
    "other entity type": ({"entity_type": "order"}, OtherEntityTypeError, "order"),
    "list that lacks one": ({"replicas": (OWN, READER)}, ReplicaListsDifferError, THIRD),
    "generation out of reach": ({"generation": (1 << 23) - 1}, AheadOfTimeError, "8388607"),
    "epoch out of reach": ({"epoch": 1 << 62, "active": READER}, AheadOfTimeError, "epoch"),
    "other mode": ({"epoch": 1, "active": READER}, GroupModeDiffersError, READER),
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_does_not_belong_is_refused_by_name(log: Log, link: Any, case: str) -> None:
    """And nothing of what it says is kept."""
    changes, kind, words = REFUSED[case]
    log.wrote(A)
    reader = link(**changes)
    before = known_roles(log.journal, ENTITY_TYPE)
    error = ends_with(reader.open(), kind)
    assert words in str(error)
    assert known_roles(log.journal, ENTITY_TYPE) == before


def test_a_longer_list_is_taken_and_told(log: Log, link: Any) -> None:
    """A replica is added: the others learn of it one after another."""
    log.wrote(A)
    reader = link(replicas=(*GROUP, "new")).open()
    eventually(lambda: reader.entities == [A])
    assert reader.said[0].replicas == tuple(sorted(GROUP))


def test_another_replica_than_expected_is_not_read(log: Log, link: Any) -> None:
    log.wrote(A)
    error = ends_with(link(peer_id=THIRD).open(), WrongReplicaError)
    assert OWN in str(error)
    assert THIRD in str(error)


def test_another_journal_under_a_known_id_is_refused(log: Log, link: Any) -> None:
    first = link(origins=(OriginFacts(READER, "journal-1", 4, 0),)).open()
    eventually(lambda: first.said)
    other = link(origins=(OriginFacts(READER, "journal-2", 4, 0),)).open()
    assert "journal-1" in str(ends_with(other, OriginChangedError))


def test_replicas_that_nobody_names_elsewhere_are_not_kept_without_end(log: Log, link: Any) -> None:
    """At a handshake and while connected: the call is refused by name, what was known stays."""
    log.wrote(A)
    told = [tuple(f"{of}-{n}" for n in range(REPLICAS_MAX // 2)) for of in "xyz"]
    first = link(retired=told[0]).open()
    eventually(lambda: first.entities == [A])
    first.tell(Known((), retired=told[1]))
    kept = {*told[0], *told[1]}
    eventually(lambda: known_roles(log.journal, ENTITY_TYPE).retired == kept)
    first.tell(Known((), retired=told[2]))
    eventually(lambda: isinstance(first.error, TooManyReplicasError))
    assert f"more than {REPLICAS_MAX} replicas" in str(
        ends_with(link(retired=told[2]).open(), TooManyReplicasError)
    )
    assert known_roles(log.journal, ENTITY_TYPE).retired == kept
    again = link(retired=told[1]).open()
    eventually(lambda: again.entities == [A])


def test_no_reader_shuts_out_a_replica_that_the_settings_name(log: Log, link: Any) -> None:
    """At a handshake and while connected; neither another one nor this one."""
    log.wrote(A)
    reader = link(retired=(OWN, THIRD), retiring=(Retiring(THIRD),)).open()
    eventually(lambda: reader.entities == [A])
    reader.tell(Known((), retiring=(Retiring(OWN), Retiring(THIRD)), retired=("elsewhere",)))
    eventually(lambda: known_roles(log.journal, ENTITY_TYPE).retired == {"elsewhere"})
    assert known_roles(log.journal, ENTITY_TYPE).fenced == {"elsewhere"}


def test_a_retired_replica_is_ended_and_refused(log: Log, link: Any) -> None:
    reader = link().open()
    eventually(lambda: reader.said)
    change_roles(
        log.journal, ENTITY_TYPE, lambda roles: replace(roles, retired=frozenset({READER}))
    )
    ends_with(reader, RetiredReplicaError)
    ends_with(link().open(), RetiredReplicaError)


def test_a_retired_replica_hears_so_where_its_id_is_in_no_settings_any_more(
    log: Log, link: Any
) -> None:
    """It was away all the time: this is how it learns to take no more commands."""
    log.journal.slices(ENTITY_TYPE, SLICES)
    begin_roles(log.journal, replication())
    change_roles(
        log.journal, ENTITY_TYPE, lambda roles: replace(roles, retired=frozenset({READER}))
    )
    without = replication(peers=[Peer(THIRD)])
    ends_with(link({"replication": (without,)}).open(), RetiredReplicaError)


def test_no_history_is_given(log: Log, serve: Any) -> None:
    _, port = serve(replication=(replication(),))
    start = ReplicaStart(READER, ENTITY_TYPE, GROUP)
    with Pulled(port, stream_id=STREAM, replica=start, history=History.LATEST) as pulled:
        assert type(pulled.error()) is NotAReplicaStreamError


def test_an_older_protocol_is_named(log: Log, serve: Any) -> None:
    from thespian_dc.model.stream_errors import ProtocolVersionError

    _, port = serve(replication=(replication(),))
    start = ReplicaStart(READER, ENTITY_TYPE, GROUP)
    with Pulled(port, stream_id=STREAM, replica=start, protocol=0) as pulled:
        assert type(pulled.error()) is ProtocolVersionError


# --- by certificate ---

BOUND = replication(peers=[Peer(READER, identity="us.shop"), Peer(THIRD, identity="ap.shop")])


def test_an_id_goes_with_its_certificate(log: Log, link: Any, ours: Authority) -> None:
    """A replica that shows another's certificate, or none that is known, gets nothing under any
    id."""
    log.wrote(A)
    serving = {"replication": (BOUND,), "tls": ours.tls("127.0.0.1")}
    good = link(serving, tls=ours.tls("us.shop")).open()
    eventually(lambda: good.entities == [A])
    for name in ("ap.shop", "stranger"):
        error = ends_with(link(tls=ours.tls(name)).open(), ReplicaIdentityError)
        assert "us.shop" in str(error)
        assert name in str(error)
    looking = link(tls=ours.tls("ap.shop"))
    with pytest.raises(ReplicaIdentityError):
        looking.source.heads()


def test_a_dialled_peer_shows_the_certificate_of_its_id(
    log: Log, link: Any, ours: Authority
) -> None:
    """Another replica's does not do, though the authority and the host's name are right."""
    log.wrote(A)
    serving = {"replication": (BOUND,), "tls": ours.tls("127.0.0.1", also="eu.shop")}
    tls = ours.tls("us.shop")

    def bound_to(identity: str) -> Tls | None:
        return Peer(OWN, "127.0.0.1:1", tls, identity).dialled_tls

    good = link(serving, tls=bound_to("eu.shop")).open()
    eventually(lambda: good.entities == [A])
    impostor = link(tls=bound_to("eu.bank"))
    assert "wrong name" in str(ends_with(impostor.open(), PeerNotTrustedError))
    with pytest.raises(PeerNotTrustedError, match="wrong name"):
        impostor.source.heads()


def test_a_binding_that_nobody_can_show_is_a_mistake(log: Log, serve: Any) -> None:
    with pytest.raises(SettingsError, match="client_auth"):
        serve(replication=(BOUND,))


@pytest.mark.parametrize(
    ("peer", "shown", "address", "word"),
    [
        (Peer(READER), (), "ipv4:127.0.0.1:4711", ""),
        (Peer(READER), (), "ipv6:%5B::1%5D:4711", ""),
        (Peer(READER), (), "unix:/tmp/socket", ""),
        (Peer(READER), (), "ipv4:10.0.0.1:4711", "no certificate"),
        (Peer(READER, plaintext_beyond_loopback=True), (), "ipv4:10.0.0.1:4711", ""),
        (Peer(READER), ("somebody",), "ipv4:10.0.0.1:4711", ""),
        (Peer(READER), ("ap.shop",), "ipv4:127.0.0.1:4711", "'ap'"),
        (Peer(READER, identity="us.shop"), ("us.shop",), "ipv4:10.0.0.1:4711", ""),
        (Peer(READER, identity="us.shop"), (), "ipv4:127.0.0.1:4711", "us.shop"),
    ],
)
def test_what_proves_an_id(peer: Peer, shown: tuple[str, ...], address: str, word: str) -> None:
    """Without certificates an id is believed on this machine only."""
    peers = [peer, Peer(THIRD, identity="ap.shop")]
    reason = unproved(peer, peers, Caller(address, frozenset(shown)))
    assert word in reason
    assert bool(word) == bool(reason)
