"""Settings of the wrong kind in Python: named when they are built, not where first used."""

from __future__ import annotations

from typing import Any

import pytest
from thespian.actors import ActorSystem

from thespian_dc import (
    Access,
    Begin,
    Client,
    Destination,
    Include,
    Limits,
    Local,
    Node,
    Projection,
    ProjectionHandler,
    ProjectionHooks,
    Registered,
    Settings,
    Stream,
    Transformation,
)
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.node_errors import NodeError
from thespian_dc.node_checks import imported
from thespian_dc.testkit.entities import Account, Closed, Deposited


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("journal", None), ("listen", 8101), ("hosts", "2"), ("hosts", 2.5), ("hosts", True),
        ("entities", Account), ("entities", "bank:Account"), ("entities", [Account, "Account"]),
        ("entities", None), ("streams", Stream("accounts", Account)), ("projections", ["totals"]),
        ("limits", {"stash_max": 1}), ("access", None), ("tls", "shop.pem"), ("replication", {}),
        ("plaintext_beyond_loopback", "no"), ("pushes", ["accounts"]), ("destinations", ["a"]),
    ],
)  # fmt: skip
def test_a_setting_of_another_kind_is_named(field: str, bad: Any) -> None:
    given: dict[str, Any] = {"service": "bank", "entities": [Account], field: bad}
    with pytest.raises(SettingsError, match=rf"^{field}.* must be "):
        Settings(**given)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("command_bytes_max", "1"), ("command_bytes_max", 0), ("waiting_max", 0),
        ("stash_max", -1), ("known_commands", 0), ("passivate_after_s", "soon"),
        ("passivate_after_s", float("nan")), ("resident_max", 0), ("recoveries_max", 0),
        ("recoveries_max", 1.5), ("command_retries", -1),
    ],
)  # fmt: skip
def test_a_limit_that_cannot_be_is_named(field: str, bad: Any) -> None:
    """With recoveries_max = 0 no command was ever handled."""
    given: dict[str, Any] = {field: bad}
    with pytest.raises(SettingsError, match=rf"^{field} must be "):
        Limits(**given)


@pytest.mark.parametrize("system", [None, ActorSystem, Settings("bank")])
def test_what_is_no_actor_system_is_named(system: Any) -> None:
    with pytest.raises(NodeError, match="ActorSystem"):
        Node.start(system, Settings("bank"))
    with pytest.raises(NodeError, match="ActorSystem"):
        Client.connect(system, "bank")


def seen(anything: Any) -> Any:
    """A function that some setting names."""


def shown(anything: Any) -> Any:
    """Another."""


class Public:
    """A payload class that a transform returns."""


class Renamed:
    """One that a projection's handler gets."""


def test_all_that_a_nodes_processes_import_is_looked_for_beforehand() -> None:
    """What only the settings named, and not an entity or a handler, was missed: the node's first
    process could not read its settings, and all that was said was that it does not answer."""
    stream = Stream("accounts", Account, Transformation().payload(Deposited, shown), [Public], seen)
    source, positions = Local("account"), "sqlite:///p.db"
    settings = Settings(
        "bank", entities=[Account], listen="127.0.0.1:0", access=Access(interceptor=max),
        streams=[stream, Stream("others", Account, filter=Include.tags("a"), from_snapshot=min)],
        projections=[
            Projection("p", source, Total, positions, [Registered(Renamed)], start=len),
            Projection("q", source, Total, positions, start="now", hooks=Hooks),
        ],
        destinations=[
            Destination("in", "taken", {"o": ""}, [Closed], sorted, without_identity=True)
        ],
    )  # fmt: skip
    wanted = {
        Account, Total, max, shown, Deposited, Public, seen, min, Renamed, len, Hooks, Closed,
        sorted,
    }  # fmt: skip
    assert set(imported(settings)) == wanted


class Total(ProjectionHandler):
    """A handler."""


class Hooks(ProjectionHooks):
    """What it tells."""


def test_what_is_no_settings_is_named() -> None:
    system: Any = ActorSystem("simpleSystemBase", transientUnique=True)
    settings: Any = {"service": "bank"}
    with pytest.raises(SettingsError, match="not a dict"):
        Node.start(system, settings)
    with pytest.raises(SettingsError, match="settings must be Settings"):
        Begin("a", settings)
