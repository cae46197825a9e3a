"""What a Cassandra URL may say, what a server's settings mean for a client, and sealed cells."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from thespian_dc.journal.cassandra.credentials import password_of, tls_of
from thespian_dc.journal.cassandra.limits import limits_of
from thespian_dc.journal.cassandra.sealed import (
    offset_at_time,
    unwrap,
    unwrap_or_raise,
    wrap,
    write_time,
)
from thespian_dc.journal.cassandra.url import parse_url
from thespian_dc.model.errors import (
    CorruptRecordError,
    JournalUrlError,
    SettingsError,
    UnsafeServerError,
)
from thespian_dc.model.ids import SliceKey

SERVER: dict[str, str | None] = {
    "paxos_variant": "v2",
    "write_request_timeout": "2000ms",
    "cas_contention_timeout": "1800ms",
    "max_mutation_size": "16384KiB",
    "commitlog_segment_size": "32MiB",
    "batch_size_warn_threshold": "5KiB",
    "batch_size_fail_threshold": "50KiB",
    "unlogged_batch_across_partitions_warn_threshold": "10",
}


def _limits(timeout_s: float = 0.0, **changed: str | None) -> Any:
    return limits_of("cassandra://h/k", {**SERVER, **changed}, timeout_s)


# --- URLs ---
@pytest.mark.parametrize(
    ("url", "hosts", "port", "keyspace"),
    [
        ("cassandra://db1/shop", ("db1",), 9042, "shop"),
        ("cassandra://db1,db2,10.0.0.3:19042/shop", ("db1", "db2", "10.0.0.3"), 19042, "shop"),
        ("cassandra://[::1]:9043/shop_2", ("::1",), 9043, "shop_2"),
    ],
)
def test_hosts_port_and_keyspace(
    url: str, hosts: tuple[str, ...], port: int, keyspace: str
) -> None:
    """One port for all hosts; the driver's default where none is said."""
    parsed = parse_url(url)
    assert (parsed.hosts, parsed.port, parsed.keyspace) == (hosts, port, keyspace)


def test_settings_have_types_and_defaults() -> None:
    """Values of a query are text."""
    parsed = parse_url("cassandra://h/k?local_dc=eu&timeout_s=7.5&commit_bytes_max=65536")
    assert (parsed.local_dc, parsed.timeout_s, parsed.commit_bytes_max) == ("eu", 7.5, 65536)
    assert parse_url("cassandra://h/k").commit_bytes_max == 1 << 20


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("cassandra://h/k?local_dd=eu", "did you mean local_dc"),
        ("cassandra://h/k?x=1", "unknown setting 'x'"),
        ("cassandra://h/k?timeout_s=soon", "timeout_s='soon'"),
        ("cassandra://h/k?consistency=one", "local_quorum"),
        ("cassandra://h/k?username=u", "go together"),
        ("cassandra://h/k?tls_cert=c&tls_key=k", "without tls_ca the connection is not TLS"),
        ("cassandra://h/k?tls_ca=a&tls_key=k", "the key of tls_cert, which is missing"),
        ("cassandra://h/k?replication=-1", "positive"),
        ("cassandra://h/", "no keyspace"),
        ("cassandra://h/Shop", "no keyspace"),
        ("cassandra://h/a/b", "no keyspace"),
        ("cassandra:///k", "needs hosts"),
        ("cassandra://a:1,b:2/k", "one port"),
        ("cassandra://h:99999/k", "one port"),
        ("cassandra://me:secret@h/k", "password_file"),
    ],
)
def test_a_wrong_url_is_named(url: str, says: str) -> None:
    """Before anything is connected."""
    with pytest.raises(JournalUrlError) as caught:
        parse_url(url)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


# --- limits ---
@pytest.mark.parametrize(
    "variant",
    [
        "v1_without_linearizable_reads",
        "v1_without_linearizable_reads_or_rejected_writes",
        "v2_without_linearizable_reads",
        "v2_without_linearizable_reads_or_rejected_writes",
    ],
)
def test_a_paxos_without_linearizable_reads_is_refused(variant: str) -> None:
    """A take-over relies on serial reads; without them two owners can both believe a head."""
    with pytest.raises(UnsafeServerError, match="paxos_variant"):
        _limits(paxos_variant=variant)


@pytest.mark.parametrize("variant", ["v1", "v2", "", None])
def test_other_variants_are_taken(variant: str | None) -> None:
    """v1 is the server's default; a role may not be allowed to read settings."""
    assert _limits(paxos_variant=variant).timeout_s > 0


def test_a_client_waits_longer_than_the_server() -> None:
    """Else it makes unknown outcomes by itself."""
    assert _limits().timeout_s == 6.0
    assert _limits(write_request_timeout="10s", cas_contention_timeout="5s").timeout_s == 16.0
    assert _limits(timeout_s=4.0).timeout_s == 4.0
    with pytest.raises(UnsafeServerError, match="timeout_s"):
        _limits(timeout_s=3.8)


def test_a_commit_is_below_what_a_mutation_may_be() -> None:
    """Half of a commit log segment, less room for the row and for paxos's own."""
    assert _limits().mutation_bytes_max == (16 << 20) - (64 << 10)
    assert _limits(max_mutation_size="1MiB").mutation_bytes_max == (1 << 20) - (64 << 10)
    smaller = _limits(max_mutation_size=None, commitlog_segment_size="4MiB")
    assert smaller.mutation_bytes_max == (2 << 20) - (64 << 10)


def test_batches_stay_below_the_servers_warnings() -> None:
    """A warning per batch would fill the server's log; a raised threshold is used."""
    assert _limits()[2:] == (5 << 10, 10)
    raised = _limits(
        batch_size_warn_threshold="64KiB",
        unlogged_batch_across_partitions_warn_threshold="100",
    )
    assert raised[2:] == (25 << 10, 100)
    assert limits_of("u", {})[2:] == (5 << 10, 10)


# --- sealed cells ---
KEY = SliceKey("cart", 3)


def test_every_flipped_bit_of_a_cell_is_found() -> None:
    """A mark that is too high hides records; a claim's epoch decides who may write."""
    cell = wrap("claim", KEY, (7, "member", b"token"), "e-1")
    assert unwrap("claim", KEY, cell, "e-1") == [7, "member", b"token"]
    for bit in range(len(cell) * 8):
        changed = bytearray(cell)
        changed[bit // 8] ^= 1 << bit % 8
        assert unwrap("claim", KEY, bytes(changed), "e-1") is None
    for damaged in (None, b"", cell[:4], cell[:-1], random.Random(1).randbytes(30)):
        assert unwrap("claim", KEY, damaged, "e-1") is None


def test_a_cell_is_not_taken_under_another_key() -> None:
    """And where it stands under another slice, the damage names the slice that misses it."""
    cell = wrap("index mark", KEY, 12)
    elsewhere = SliceKey("cart", 4)
    assert unwrap("index mark", elsewhere, cell) is None
    assert unwrap("trim mark", KEY, cell) is None
    assert unwrap("index mark", KEY, cell, "x") is None
    with pytest.raises(CorruptRecordError, match="stands under slice 4") as caught:
        unwrap_or_raise("index mark", elsewhere, cell)
    assert caught.value.slice == 3


def test_a_later_offset_always_has_a_later_write_time() -> None:
    """A late older state never wins; in between there is room to delete one."""
    for offset in (0, 1, 1 << 15, 1 << 52):
        assert write_time(offset + 1) > write_time(offset) + 1000
        assert offset_at_time(write_time(offset) + 1000) == offset
        assert write_time(offset) < 1 << 63


# --- files of secrets ---
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path) -> None:
    """When the journal is opened, with the key that names the file; no prompt, no traceback of
    OpenSSL."""
    for name, content in (("text", b"no PEM"), ("empty", b" \n"), ("bytes", b"\xff\xfe")):
        (tmp_path / name).write_bytes(content)
    wrong = {
        "username=u&password_file={}/none": "password_file '.*none' cannot be read: No such file",
        "username=u&password_file={}/empty": "password_file '.*empty' is empty",
        "username=u&password_file={}/bytes": "it is not text",
        "tls_ca={}/none": "tls_ca '.*none' cannot be read: No such file",
        "tls_ca={}/text": "tls_ca '.*text' holds no certificate",
        "tls_ca={}/text&tls_cert={}/none": "tls_cert '.*none' cannot be read",
    }
    for query, says in wrong.items():
        parsed = parse_url("cassandra://h/k?" + query.replace("{}", str(tmp_path)))
        with pytest.raises(SettingsError, match=says):
            password_of(parsed) if parsed.username else tls_of(parsed)
