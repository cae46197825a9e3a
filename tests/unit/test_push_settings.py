"""What settings of pushes and destinations are refused, before anything is created."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from thespian_dc.model.errors import NotSupportedError, SettingsError
from thespian_dc.model.settings import Destination, Push, Settings, Stream, Tls
from thespian_dc.node import plan
from thespian_dc.node_checks import check_settings
from thespian_dc.stream.protocol import StartProducer

TLS = Tls("a.pem", "a.key", "ca.pem")
LOCAL = "127.0.0.1:8101"
BOUND = {"shop": "shop.example.org"}


class Cart:
    entity_type = "cart"


async def later(event: Any) -> Any:
    return event


def settings(**changes: Any) -> Settings:
    return Settings(**({"service": "far", "listen": LOCAL} | changes))


def bound(**changes: Any) -> Destination:
    return Destination(**({"stream_id": "s", "entity_type": "far", "origins": BOUND} | changes))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "nobody": (lambda: bound(origins={}), "origins names nobody"),
    "no identity": (lambda: bound(origins={"shop": ""}), "is bound to no certificate"),
    "async": (lambda: bound(transform=later), "must not be async"),
    "lambda": (lambda: bound(transform=lambda event: event), "importable"),
    "no tls": (lambda: settings(destinations=[bound()]), "nobody can show a certificate"),
    "no client_auth": (
        lambda: settings(destinations=[bound()], tls=Tls("a", "b", "c", client_auth=False)),
        "nobody can show a certificate",
    ),
    "not loopback": (
        lambda: settings(
            destinations=[bound(without_identity=True)], listen="0.0.0.0:1",
            plaintext_beyond_loopback=True,
        ),
        "loopback only",
    ),
    "nowhere": (lambda: settings(destinations=[bound()], listen=""), "needs listen"),
    "entity": (
        lambda: settings(destinations=[bound(entity_type="cart")], tls=TLS, entities=[Cart]),
        "entities of this node write 'cart' already",
    ),
    "twice": (lambda: settings(destinations=[bound(), bound()], tls=TLS), "stands twice"),
    "push of nothing": (lambda: settings(pushes=[Push("s", LOCAL)]), "none of streams"),
    "push twice": (
        lambda: settings(streams=[Stream("s", "x")], pushes=[Push("s", LOCAL), Push("s", LOCAL)]),
        "stands twice",
    ),
    "plaintext": (lambda: Push("s", "far.example.org:1"), "is not loopback"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(case: str) -> None:
    make, text = REFUSED[case]
    with pytest.raises(SettingsError, match=text):
        make()


def test_a_node_that_only_pushes_listens_nowhere() -> None:
    """One process, the same that would serve streams."""
    only = Settings("shop", pushes=[Push(Stream("s", "x"), LOCAL)])
    (leaf,) = plan(check_settings(only, simple=False)).leaves
    assert isinstance(leaf.settings, StartProducer)
    assert (leaf.settings.listen, len(leaf.settings.pushes), leaf.settings.streams) == ("", 1, ())


def test_simple_system_base_neither_pushes_nor_takes() -> None:
    with pytest.raises(NotSupportedError):
        check_settings(Settings("shop", pushes=[Push(Stream("s", "x"), LOCAL)]), simple=True)
    with pytest.raises(NotSupportedError):
        check_settings(settings(destinations=[bound()], tls=TLS), simple=True)
