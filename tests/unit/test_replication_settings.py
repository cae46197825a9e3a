"""What settings of replication are refused, before anything is created; and how TOML says them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.processes.replicas import Tally
from tests.processes.shop import Counter
from thespian_dc.model.criteria import Criteria, Exclude, Filter, Include
from thespian_dc.model.entity_errors import EntityClassError
from thespian_dc.model.errors import NotSupportedError, SettingsError
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.settings import Destination, Settings, Stream, Tls
from thespian_dc.model.settings_toml import settings_from
from thespian_dc.node_checks import check_settings

LOCAL = "127.0.0.1:8101"
US = Peer("us", LOCAL)
TLS = Tls("a.pem", "a.key", "ca.pem")
TOML = """
service = "shop"
entities = ["here:Cart"]
listen = "127.0.0.1:8101"
[[replication]]
entity = "here:Cart"
replica_id = "eu"
active = "us"
queries = ["here:Look"]
wanted = { exclude = { regexes = ["test-.*"] } }
[[replication.peers]]
replica_id = "us"
target = "us.example.org:8101"
identity = "us.example.org"
tls = { certificate = "a.pem", key = "a.key", authority = "ca.pem" }
[[replication.peers]]
replica_id = "asia"
"""


class Cart:
    entity_type = "cart"


class Look:
    """A query."""


def cart(**changes: Any) -> Replication:
    return Replication(**({"entity": Cart, "replica_id": "eu", "peers": [US]} | changes))


def node(*replication: Replication, **changes: Any) -> Settings:
    return Settings(
        **({"service": "shop", "listen": LOCAL, "entities": [Cart], "replication": replication}
        | changes)
    )  # fmt: skip


TAGS = Filter(exclude=Criteria(tags=["large"]))
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "own id a peer": (lambda: cart(replica_id="us"), "'us' is this replica and a peer of it"),
    "peer twice": (lambda: cart(peers=[US, Peer("us")]), "peer 'us' stands twice"),
    "no id": (lambda: cart(replica_id=""), "replica_id must be a non-empty string"),
    "bad peer id": (lambda: Peer("a|b"), "must not hold '|'"),
    "many peers": (lambda: cart(peers=[Peer(f"p{n}") for n in range(64)]), "at most 63"),
    "bad target": (lambda: Peer("us", "nowhere"), "target must be 'host:port'"),
    "plaintext": (lambda: Peer("us", "10.0.0.1:1"), "10.0.0.1 is not loopback and tls is not set"),
    "identity, no tls": (lambda: Peer("us", LOCAL, identity="us"), "identity is a certificate's"),
    "no workers": (lambda: Peer("us", LOCAL, workers=0), "workers must be 1..16, not 0"),
    "edge workers": (lambda: Peer("us", edge=True, workers=2), "an edge opens one call"),
    "active stranger": (lambda: cart(active="asia"), "active 'asia' is none of eu, us"),
    "late events": (lambda: cart(late_events="drop"), "one of 'apply', 'set_aside', not 'drop'"),
    "queries of all": (lambda: cart(queries=[Look]), "queries are for standbys"),
    "queries by name": (lambda: cart(active="us", queries=["Look"]), "which is no class"),
    "tags shown": (lambda: cart(shown=TAGS), "tags and topics could withhold a part"),
    "single events": (lambda: cart(wanted=Filter(events_only=True)), "entities come whole"),
    "from the middle": (
        lambda: cart(wanted=Filter(include=Criteria(["c-1"]), from_seq_nrs=[("c-1", 5)])),
        "must not name seq_nrs",
    ),
    "waits for ever": (lambda: cart(look_up_after_s=0.0), "look_up_after_s must be in"),
    "not served": (lambda: node(cart(), entities=[]), "'cart': it is none of entities"),
    "type twice": (lambda: node(cart(), cart()), "'cart' stands twice"),
    "not reached": (lambda: node(cart(), listen=""), "needs listen"),
    "stream id": (lambda: node(streams=[Stream("replica:cart", Cart)]), "between replicas"),
    "destination id": (
        lambda: node(destinations=[
            Destination("replica:x", "far", {"a": ""}, without_identity=True)
        ]),
        "between replicas",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_by_name(name: str) -> None:
    build, text = REFUSED[name]
    with pytest.raises(SettingsError, match=text):
        build()


def test_ids_make_one_list() -> None:
    """The same at every replica, whoever lists it."""
    one = cart(peers=[US, Peer("asia")])
    assert one.replicas == ("asia", "eu", "us")
    assert one.peer("us") == US
    assert one.peer("eu") is None
    assert (one.entity_type, one.stream_id) == ("cart", "replica:cart")


def test_filters_of_whole_entities_pass() -> None:
    shown = Exclude.regexes("test-.*") + Include.entity_ids("test-7")
    assert cart(wanted=TAGS, shown=shown).shown == shown


def test_toml_says_the_same_as_python() -> None:
    found = settings_from(tomllib.loads(TOML), lambda name: globals()[name[5:]])
    us = Peer("us", "us.example.org:8101", TLS, "us.example.org")
    wanted = Filter(exclude=Criteria(regexes=["test-.*"]))
    assert found.replication == (
        Replication(
            Cart, "eu", (us, Peer("asia")), wanted=wanted, active="us", queries=(Look,)
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tls", "identity", "shown"),
    [
        (TLS, "", ""),
        (TLS, "us.shop", "us.shop"),
        (replace(TLS, server_name="us-server"), "us.shop", "us-server"),
        (TLS, "spiffe://shop/us", ""),
    ],
)
def test_a_dialled_peers_certificate_shows_its_identity(
    tls: Tls, identity: str, shown: str
) -> None:
    """ "": the host's name; a name of the server's own goes before it."""
    dialled = Peer("us", "us.example.org:8101", tls, identity).dialled_tls
    assert dialled == replace(TLS, server_name=shown)


def test_a_simple_system_replicates_nothing() -> None:
    """Nothing runs there between two calls."""
    with pytest.raises(NotSupportedError, match="replication of 'tally' on simpleSystemBase"):
        check_settings(node(cart(entity=Tally), entities=[Tally]), simple=True)


def test_class_and_setting_go_together() -> None:
    """One without the other would write a log that no replica can take over."""
    with pytest.raises(SettingsError, match="Tally is a ReplicatedEventSourcedActor, and"):
        check_settings(node(entities=[Tally]), simple=False)
    with pytest.raises(EntityClassError, match="does not derive from ReplicatedEventSourcedActor"):
        check_settings(node(cart(entity=Counter), entities=[Counter]), simple=False)
