"""`thespian-dc replication` and the API below it, as an operator meets them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import thespian_dc
from tests.unit.cli_journal import ESCAPES
from thespian_dc.cli.main import main
from thespian_dc.entity.role_registry import (
    Failed,
    add_listed,
    begin_roles,
    change_roles,
    note_diverged,
    store_failed,
)
from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.push_errors import DestinationFilterChangedError
from thespian_dc.model.replication import Listed
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_errors import (
    CatchUpRefusedError,
    NotReplicatedError,
    ReplicationWishError,
)
from thespian_dc.model.roles import Stage, fenced, staged
from thespian_dc.model.stream_errors import PeerUnavailableError
from thespian_dc.replication import wishes
from thespian_dc.replication.blocked import Blocked
from thespian_dc.replication.keeper import Keeper
from thespian_dc.replication.link_facts import LinkFacts
from thespian_dc.replication.management import Replicas
from thespian_dc.replication.status import store_status
from thespian_dc.shell.clock import now_us
from thespian_dc.stream.destination_filters import begin_destination_filter
from thespian_dc.stream.shown_filter import begin_shown_filter
from thespian_dc.testkit.eventually import eventually

SETTING = Replication("cart", "eu", peers=[Peer("us", "127.0.0.1:1")], active="us")
HIDES = replace(SETTING, shown=Exclude.entity_ids("c-2"))


class Links:
    """One link, to a peer that does not answer."""

    def reading(self) -> frozenset[str]:
        return frozenset({"us"})

    def left_out(self) -> str:
        return ""

    def cursors(self, generation: int) -> Mapping[str, Mapping[int, int]]:
        return {}

    def heads(self, peer: str) -> Mapping[int, int]:
        raise PeerUnavailableError(peer, "it is down")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    opened = open_journal(url)
    opened.slices("cart", 4)
    opened.slices("order", 4)
    begin_roles(opened, SETTING)
    begin_destination_filter(opened, SETTING.stream_id, SETTING.wanted)
    yield opened
    opened.close()


@pytest.fixture
def keeper(journal: Journal) -> Iterator[Keeper]:
    """The replica runs."""
    kept = Keeper(journal, SETTING, "node", Links(), lambda _: None)
    kept.start()
    eventually(lambda: wishes.last_beat(journal, "cart").time_us, deadline_s=20)
    yield kept
    kept.stop(10.0)


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["replication", *arguments, "--journal", url])


def row(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_status_says_who_it_is_and_what_its_links_do(url: str, journal: Journal) -> None:
    blocked = Blocked(2, "c-1", now_us() - 3_000_000, ("ap", 4), "")
    link = LinkFacts("us", "up", cursors={0: 3, 2: 5}, heads={0: 3, 2: 9}, waits=(blocked,),
                     waiting=1, taken=8, relayed_by=("ap", "eu"))  # fmt: skip
    store_status(journal, "cart", "node", [link], now_us())
    found = run(url, "status", "--json")
    status = row(found)
    assert found.exit_code == 1
    assert (status["replica"], status["active"], status["is_active"]) == ("eu", "us", False)
    assert status["lives"] is False
    [shown] = status["links"]
    assert (shown["peer"], shown["state"], shown["lag"]) == ("us", "up", 4)
    assert shown["slices"][1] == {"peer": "us", "slice": 2, "offset": 5, "head": 9, "lag": 4}
    [wait] = status["waits"]
    assert (wait["entity"], wait["waits_for"]) == ("c-1", "ap 4")
    assert 3 <= wait["for_s"] < 60
    text = run(url, "status", "--slices", "--listed").output
    assert "stands by; us is active, epoch 1" in text
    assert "us withholds what is shown by ap, eu" in text
    assert shown["relayed_by"] == ["ap", "eu"]
    assert "does not run" in text


def test_a_replica_that_runs_and_lacks_nothing_is_well(
    url: str, journal: Journal, keeper: Keeper
) -> None:
    store_status(journal, "cart", "node", [LinkFacts("us", "up")], now_us())
    assert run(url, "status").exit_code == 0
    store_status(journal, "cart", "node", [LinkFacts("us", "down")], now_us())
    assert run(url, "status").exit_code == 1


def test_entities_that_take_no_commands_are_shown_as_long_as_they_do_not(
    url: str, journal: Journal, keeper: Keeper
) -> None:
    store_status(journal, "cart", "node", [LinkFacts("us", "up")], now_us())
    store_failed(journal, "cart", {f"c{ESCAPES}": Failed(now_us(), "cannot apply record 7")})
    said = run(url, "status")
    assert (said.exit_code, "cannot apply record 7" in said.output) == (1, True)
    assert "\x1b" not in said.output
    [failed] = row(run(url, "status", "--json"))["failed"]
    assert failed["why"] == "cannot apply record 7"
    store_failed(journal, "cart", {f"c{ESCAPES}": None})
    assert run(url, "status").exit_code == 0


def test_what_was_listed_is_shown_and_escaped(url: str, journal: Journal) -> None:
    add_listed(journal, "cart", [Listed("late", f"c{ESCAPES}", "us", 7, 1)], now_us())
    assert "1 events are listed" in run(url, "status").output
    text = run(url, "status", "--listed").output
    assert "\x1b" not in text
    assert "late" in text
    [listed] = row(run(url, "status", "--json"))["listed_newest"]
    assert (listed["what"], listed["origin"], listed["n"]) == ("late", "us", 7)


def test_a_type_that_is_not_replicated_is_named(url: str, journal: Journal) -> None:
    found = run(url, "status", "--type", "order")
    assert (found.exit_code, "never replicated" in found.output) == (2, True)
    with pytest.raises(NotReplicatedError, match="replicated types: cart"):
        Replicas(url, "order").status()


def test_nothing_is_wished_of_a_replica_that_does_not_run(url: str, journal: Journal) -> None:
    with pytest.raises(ReplicationWishError, match="does not run"):
        Replicas(url, "cart").promote()
    assert wishes.wishes(journal, "cart").kept == ()


def test_a_promotion_says_what_is_lacking(url: str, keeper: Keeper) -> None:
    with pytest.raises(CatchUpRefusedError, match=r"'us': .*it is down"):
        Replicas(url, "cart").promote(timeout_s=0.5)
    assert Replicas(url, "cart").status().roles.active == "us"
    forced = row(run(url, "promote", "--type", "cart", "--force", "--timeout", "5", "--json"))
    [behind] = forced["behind"]
    assert (forced["epoch"], behind["replica"], behind["behind"]) == (2, "us", "unknown")
    assert "it is down" in behind["reason"]
    assert row(run(url, "status", "--json"))["is_active"] is True


def test_a_demotion_of_a_standby_is_refused(url: str, keeper: Keeper) -> None:
    with pytest.raises(ReplicationWishError, match="'us' is"):
        Replicas(url, "cart").demote()


def test_a_recovery_that_cannot_end_is_ended_by_hand(
    url: str, journal: Journal, keeper: Keeper
) -> None:
    """Its only peer is down."""
    note_diverged(journal, "cart", "us", 0)
    eventually(lambda: row(run(url, "status", "--json"))["closed"] == "recovering", deadline_s=20)
    eventually(lambda: row(run(url, "status", "--json"))["lacks"], deadline_s=20)
    assert row(run(url, "resume", "--type", "cart", "--json"))["resumed"] is True
    status = row(run(url, "status", "--json"))
    assert (status["closed"], status["generation"]) == ("", 1)


def test_a_retirement_that_goes_on_says_for_whom_it_waits(
    url: str, journal: Journal, keeper: Keeper
) -> None:
    found = run(url, "retire", "us", "--type", "cart", "--timeout", "0", "--json")
    # Only this replica is left, and its link to the one that leaves is never closed here.
    assert (found.exit_code, list(row(found)["waits_for"])) == (1, ["eu"])
    assert "retiring us: eu was not told to" in run(url, "status").output
    change_roles(journal, "cart", lambda roles: staged(roles, "us", Stage(0, 0, (0,) * 4)))
    assert Replicas(url, "cart").retire("us", timeout_s=20.0) == {}
    assert row(run(url, "status", "--json"))["retired"] == ["us"]


def test_a_replica_that_retires_does_not_say_for_whom_that_waits(
    url: str, journal: Journal, keeper: Keeper
) -> None:
    """Nobody tells it any more: they refuse it."""
    change_roles(journal, "cart", fenced)
    said = run(url, "status").output
    assert "takes no commands: retiring" in said
    assert "was not told" not in said
    refused = run(url, "promote", "--type", "cart", "--force")
    assert refused.exit_code != 0
    assert "'eu' was retired" in refused.output


def test_the_filter_is_changed_from_anywhere(url: str, journal: Journal) -> None:
    api = Replicas(url, "cart")
    assert run(url, "filter", "exclude", "--type", "cart", "--all").exit_code == 0
    shown = row(run(url, "filter", "include", "--type", "cart", "--id", "c-1", "--json"))
    assert shown == {
        "type": "cart", "end": "wanted", "version": 2, "exclude": {"regexes": [".*"]},
        "include": {"entity_ids": ["c-1"]},
    }  # fmt: skip
    assert api.filter().filter == Exclude.all() + Include.entity_ids("c-1")
    assert api.remove_criteria(Include.entity_ids("c-1")).filter == Exclude.all()
    assert "all entities are taken" in run(url, "filter", "clear", "--type", "cart").output
    assert run(url, "filter", "include", "--type", "cart").exit_code == 2
    assert "version 4" in run(url, "filter", "show", "--type", "cart").output


def test_what_is_shown_is_a_filter_of_its_own(url: str, journal: Journal) -> None:
    """The same verbs with --shown; whole entities only."""
    begin_shown_filter(journal, HIDES)
    said = run(url, "filter", "include", "--shown", "--type", "cart", "--id", "c-2", "--json")
    assert row(said) == {
        "type": "cart", "end": "shown", "version": 2, "exclude": {"entity_ids": ["c-2"]},
        "include": {"entity_ids": ["c-2"]},
    }  # fmt: skip
    api = Replicas(url, "cart")
    assert api.filter().version == 0
    assert api.remove_criteria(Include.entity_ids("c-2"), shown=True).version == 3
    with pytest.raises(DestinationFilterChangedError, match="the filter of replicated type cart"):
        api.set_filter(Filter(), expected=2, shown=True)
    for refused in (("--tag", "red"), ("--topic", "a/+")):
        found = run(url, "filter", "exclude", "--shown", "--type", "cart", *refused)
        assert found.exit_code == 2
        assert "could withhold a part of an entity" in found.output
    assert begin_shown_filter(journal, HIDES).version == 3
    assert begin_shown_filter(journal, SETTING).filter == Filter()
    found = run(url, "filter", "show", "--shown", "--type", "cart")
    assert "all entities are shown" in found.output


def test_the_api_is_at_the_front() -> None:
    assert thespian_dc.Replicas is Replicas
    assert thespian_dc.Replication is Replication
