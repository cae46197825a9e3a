"""The command on a real Cassandra: the schema's verbs, what stands there, the doctor."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("cassandra")

from cassandra.cluster import Cluster

from tests.unit.cli_journal import TIME_US, Added, fill
from thespian_dc.cli.main import main
from thespian_dc.journal.api import open_journal
from thespian_dc.model.ids import SliceKey, slice_of

pytestmark = pytest.mark.cassandra


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def statuses(url: str) -> dict[str, str]:
    result = run("doctor", "--journal", url, "--accept", "thespian-port", "--json")
    return {line["check"]: line["status"] for line in lines_of(result)}


def execute(cassandra: Any, statement: str) -> None:
    """By a session the journal does not know of."""
    with Cluster([cassandra.host], port=cassandra.port, protocol_version=5) as cluster:
        cluster.connect().execute(statement, timeout=30)


def test_schema_is_made_once_and_checked(cassandra_url: str, cassandra: Any) -> None:
    """Absent is found, made is made, a second time changes nothing, a newer one is refused."""
    before = run("schema", "check", "--journal", cassandra_url)
    assert (before.exit_code, "schema apply" in before.stdout) == (1, True)
    refused = run("heads", "--journal", cassandra_url)
    assert (refused.exit_code, "has no schema" in refused.stderr) == (2, True)
    assert statuses(cassandra_url)["schema"] == "FAIL"
    (made,) = lines_of(run("schema", "apply", "--journal", cassandra_url, "--json"))
    assert (made["result"], made["found"], made["version"]) == ("made", 0, 1)
    (again,) = lines_of(run("schema", "apply", "--journal", cassandra_url, "--json"))
    assert again == {**made, "result": "unchanged", "found": 1}
    (fits,) = lines_of(run("schema", "check", "--journal", cassandra_url, "--json"))
    assert (fits["result"], fits["journal_id"]) == ("fits", made["journal_id"])
    keyspace = cassandra_url.rpartition("/")[2]
    execute(
        cassandra,
        f"delete from {keyspace}.cells"
        " where kind = 'journal' and name = 'journal/schema' if exists",
    )
    assert run("schema", "check", "--journal", cassandra_url).exit_code == 1


def test_what_stands_in_a_journal_is_shown(cassandra_url: str, cassandra: Any) -> None:
    """The same lines as from a file; then damage, named by `verify`."""
    assert run("schema", "apply", "--journal", cassandra_url).exit_code == 0
    fill(cassandra_url, [("c-1", Added(f"sku-{n}")) for n in range(3)])
    key = SliceKey("cart", slice_of("c-1", 4))
    rows = lines_of(run("heads", "--journal", cassandra_url, "--json"))
    assert rows[key.slice] == {
        "entity_type": "cart", "slice": key.slice, "head": 3, "epoch": 1, "trimmed": 0,
        "owner": "member-1", "claimed": 1,
    }  # fmt: skip
    entity = lines_of(run("events", "cart", "c-1", "--journal", cassandra_url, "--json"))
    assert [one["payload"]["sku"] for one in entity] == ["sku-0", "sku-1", "sku-2"]
    assert lines_of(run("events", "cart", "--journal", cassandra_url, "--json")) == entity
    assert run("verify", "--journal", cassandra_url).stdout.endswith("4 slices, 3 records\n")
    journal = open_journal(cassandra_url)
    journal.advance_index(key, 3)
    assert journal.trim(key, 1) == 1
    journal.close()
    rows = lines_of(run("heads", "--journal", cassandra_url, "--json"))
    assert rows[key.slice]["trimmed"] == 1
    keyspace = cassandra_url.rpartition("/")[2]
    execute(
        cassandra,
        f"update {keyspace}.slice_log set body = 0x00 where entity_type = 'cart' and slice ="
        f" {key.slice} and segment = 0 and base_offset = 2 if exists",
    )
    damaged = run("verify", "--journal", cassandra_url, "--json")
    assert damaged.exit_code == 1
    places = {(one.get("slice"), one.get("offset")) for one in lines_of(damaged)}
    assert (key.slice, 2) in places


def test_the_doctor_looks_at_the_server(cassandra_url: str) -> None:
    """All is well with a server as we set it up; a wrong data centre is named."""
    assert run("schema", "apply", "--journal", cassandra_url).exit_code == 0
    fill(cassandra_url, [("c-1", Added("apple"))], TIME_US)
    seen = statuses(cassandra_url)
    checks = ("schema", "home-data-centre", "server", "paxos", "journal", "commit-times", "slices")
    assert {name: seen[name] for name in checks} == dict.fromkeys(checks, "OK")
    result = run("doctor", "--journal", cassandra_url, "--json")
    paxos = next(line for line in lines_of(result) if line["check"] == "paxos")
    assert paxos["found"].endswith("paxos_variant is v2")


def test_a_server_that_is_not_there(cassandra: Any) -> None:
    """One line within the time to connect, and no traceback of a driver."""
    url = f"cassandra://{cassandra.host}:1/shop?connect_timeout_s=1"
    for verb in (("heads",), ("verify",), ("schema", "check"), ("schema", "apply")):
        result = run(*verb, "--journal", url)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: journal cassandra://")
        assert result.stderr.count("\n") == 1
    assert statuses(url)["journal"] == "FAIL"


def test_a_newer_schema_is_left_alone(cassandra_url: str) -> None:
    """Only a newer program knows what it may change there."""

    from thespian_dc.journal.cassandra.open import connect
    from thespian_dc.journal.cassandra.url import parse_url
    from thespian_dc.journal.cells import Cell

    assert run("schema", "apply", "--journal", cassandra_url).exit_code == 0
    parsed = parse_url(cassandra_url)
    link = connect(parsed, 10.0)
    cell = Cell.make("journal/schema", 1, 99)
    statement = link.session.prepare(
        f"update {parsed.keyspace}.cells set value = ?, crc = ?"
        " where kind = 'journal' and name = 'journal/schema' if exists"
    )
    assert link.decide(statement.bind((cell.value, cell.crc)))["[applied]"]
    link.close()
    refused = run("schema", "apply", "--journal", cassandra_url)
    assert (refused.exit_code, "upgrade thespian-dc" in refused.stderr) == (2, True)
    assert run("schema", "check", "--journal", cassandra_url).exit_code == 1
    assert statuses(cassandra_url)["schema"] == "FAIL"


def test_a_consumers_tables_are_made_by_the_same_verb(cassandra_url: str) -> None:
    """--positions: absent is found, made is made, and a second time changes nothing."""
    before = run("schema", "check", "--positions", cassandra_url)
    assert (before.exit_code, "schema apply --positions" in before.stdout) == (1, True)
    results = [lines_of(run("schema", verb, "--positions", cassandra_url, "--json"))[0]["result"]
               for verb in ("apply", "apply", "check")]  # fmt: skip
    assert results == ["made", "unchanged", "fits"]
    assert run("schema", "apply").exit_code == 2
    embedded = run("schema", "apply", "--positions", "sqlite:///read.db")
    assert (embedded.exit_code, "by itself" in embedded.stderr) == (2, True)
