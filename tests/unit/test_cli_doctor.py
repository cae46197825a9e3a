"""The doctor's checks: each says OK for what is well and something else for what is not."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli_journal import TIME_US, Added, fill, sqlite_url
from thespian_dc.cli import certificates, machine, ports
from thespian_dc.cli.certificates import check_tls, expiry_s
from thespian_dc.cli.finding import FAIL, OK, WARN, Finding
from thespian_dc.cli.journal_checks import check_servers, check_slice_counts, paxos
from thespian_dc.cli.machine import check_clock, check_package, in_range, stepped
from thespian_dc.cli.main import main
from thespian_dc.cli.ports import check_admin_port, listeners
from thespian_dc.journal.api import Schema, ServerFacts
from thespian_dc.model.settings import Tls

DOCS = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")
DAY_S = 86_400


def doctor(*arguments: str) -> Result:
    """On an Admin port where nobody listens, unless the test names one."""
    if "--admin-port" not in arguments:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        arguments = ("--admin-port", port, *arguments)
    return CliRunner().invoke(main, ["doctor", *arguments])


def findings(*arguments: str) -> dict[str, Finding]:
    lines = [json.loads(line) for line in doctor(*arguments, "--json").stdout.splitlines()]
    return {line["check"]: Finding(**line) for line in lines}


# --- ports ---


@pytest.mark.parametrize(
    ("family", "address", "status"),
    [
        (socket.AF_INET, "127.0.0.1", OK),
        (socket.AF_INET, "127.9.9.9", OK),
        (socket.AF_INET, "0.0.0.0", FAIL),
        (socket.AF_INET6, "::1", OK),
        (socket.AF_INET6, "::", FAIL),
        (socket.AF_INET6, "::ffff:127.0.0.1", OK),
    ],
)
def test_a_port_beyond_loopback_is_a_fail(family: int, address: str, status: str) -> None:
    """A real socket in the kernel's own table: Thespian's port runs code for whoever reaches it."""
    with socket.socket(family) as listening:
        try:
            listening.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        listening.listen()
        port = listening.getsockname()[1]
        exposure, method = check_admin_port(port)
        assert (exposure.check, exposure.status) == ("thespian-port", status)
        assert str(port) in exposure.found
        assert f"pid {os.getpid()}" in method.found
        assert bool(exposure.remedy) is (status == FAIL)


def test_a_closed_port_and_a_system_without_proc(tmp_path: Path) -> None:
    """Nothing to see is said, and is not the same as not being able to look."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, not listening
        (closed,) = check_admin_port(bound.getsockname()[1])
    assert (closed.status, "nothing listens" in closed.found) == (OK, True)
    (blind,) = check_admin_port(1900, tmp_path)
    assert blind.status == WARN


def test_the_kernels_table_is_read_in_its_byte_order() -> None:
    """Words are in the machine's order, and only state 0A listens."""
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  t i\n"
        "   0: 0100007F:076C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0 0 12 1\n"
        "   1: 0100007F:076D 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0 0 13 1\n"
    )
    (one,) = listeners(table)
    assert (one.port, one.inode) == (1900, "12")
    expected = "127.0.0.1" if ports.sys.byteorder == "little" else "1.0.0.127"
    assert one.address == ip_address(expected)


def test_an_exposed_port_fails_the_doctor_until_it_is_accepted() -> None:
    """Where a firewall stands before it the doctor can be part of a script."""
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        port = str(listening.getsockname()[1])
        assert doctor("--admin-port", port).exit_code == 1
        accepted = doctor("--admin-port", port, "--accept", "thespian-port")
        assert accepted.exit_code == 0
        assert "WARN thespian-port: accepted: " in accepted.stdout


# --- packages and clock ---


@pytest.mark.parametrize(
    ("version", "bounds", "inside"),
    [
        ("1.78", ">=1.78,<2", True),
        ("1.78.0", "<2,>=1.78", True),
        ("1.9.9", ">=1.78,<2", False),
        ("2.0.0rc1", ">=1.78,<2", False),
        ("6.33.4", ">=6.33.5,<8", False),
        ("7.36.2", ">=6.33.5,<8", True),
        ("8.0.0", ">=6.33.5,<8", False),
        ("4.0.1", ">=4.0.1", True),
        ("9", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, bounds: str, inside: bool) -> None:
    """1.9 is older than 1.78."""
    assert in_range(version, bounds) is inside


def test_a_package_out_of_range_or_missing_is_a_fail() -> None:
    """Generated code does not run on every protobuf."""
    assert check_package("protobuf", ">=6.33.5,<8", "", True).status == OK
    old = check_package("protobuf", ">=900", "", True)
    assert (old.status, "pip install" in old.remedy) == (FAIL, True)
    missing = check_package("no-such-package", ">=1", "cassandra", True)
    assert (missing.status, missing.remedy) == (FAIL, "pip install 'thespian-dc[cassandra]'")
    assert check_package("no-such-package", ">=1", "cassandra", False).status == OK


def test_every_required_package_is_checked() -> None:
    """The list is the installed metadata's, not a copy of it."""
    required = {
        re.match(r"[\w.-]+", line)[0]  # type: ignore[index]
        for line in metadata.requires("thespian-dc") or [] if "extra" not in line
    }  # fmt: skip
    assert {"grpcio", "protobuf", "thespian"} <= required
    assert required <= set(findings())


def test_a_clock_that_jumps_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an even one is not."""
    assert stepped(0.2, 0.2).status == OK
    assert stepped(3.2, 0.2).status == WARN
    assert stepped(-0.8, 0.2).status == WARN
    (real,) = check_clock()
    assert real.check == "clock"
    monkeypatch.setattr(machine.time, "time", lambda: 1e9)
    (behind,) = check_clock(0.0)
    assert (behind.status, "behind" in behind.found) == (FAIL, True)


# --- journals ---


def test_a_sound_journal_is_ok(tmp_path: Path) -> None:
    """Every line OK, exit code 0."""
    url = sqlite_url(tmp_path)
    fill(url, [("c-1", Added("apple"))])
    seen = findings("--journal", url)
    assert {seen[name].status for name in ("journal", "commit-times", "slices")} == {OK}
    assert seen["slices"].found == "cart: 4"
    assert doctor("--journal", url).exit_code == 0


def test_a_commit_from_the_future_is_a_warning(tmp_path: Path) -> None:
    """The clock here, or where it was made, is wrong."""
    url = sqlite_url(tmp_path)
    fill(url, [("c-1", Added("apple"))], TIME_US)
    assert findings("--journal", url)["commit-times"].status == OK
    ahead = sqlite_url(tmp_path).replace("shop.db", "ahead.db")
    fill(ahead, [("c-1", Added("apple"))], time.time_ns() // 1000 + 60_000_000)
    found = findings("--journal", ahead)["commit-times"]
    assert (found.status, "ahead of this machine's clock" in found.found) == (WARN, True)


def test_a_journal_that_does_not_open_is_a_fail_and_no_error() -> None:
    """The other checks are still worth reading."""
    result = doctor("--journal", "sqlite:///no/such/folder.db")
    assert result.exit_code == 1
    assert "FAIL journal: " in result.stdout


def test_another_slice_count_than_the_journals_is_a_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a node is started with it, and with the count that is right."""
    url = sqlite_url(tmp_path)
    fill(url, [("c-1", Added("apple"))])
    (tmp_path / "doctors_cart.py").write_text("class Cart:\n    entity_type = 'cart'\n")
    settings = tmp_path / "node.toml"
    text = f'service = "shop"\njournal = "{url}"\nentities = ["doctors_cart:Cart"]\n'
    monkeypatch.chdir(tmp_path)
    settings.write_text(text + "slices = 4\n")
    seen = findings("--settings", str(settings))
    assert (seen["settings"].status, seen["slices"].status) == (OK, OK)
    settings.write_text(text)
    wrong = findings("--settings", str(settings))["slices"]
    assert (wrong.status, "set slices = 4" in wrong.remedy) == (FAIL, True)
    settings.write_text(text + "slicess = 4\n")
    unread = findings("--settings", str(settings))["settings"]
    assert (unread.status, "did you mean slices?" in unread.found) == (FAIL, True)


def test_types_the_journal_does_not_have_yet_are_no_fault() -> None:
    """They are recorded on first use."""
    (found,) = check_slice_counts({}, {"cart": 16})
    assert found.status == OK


SOUND = ServerFacts((("10.0.0.1", "eu", "5.0.9", "v2"),), "eu", Schema(1, 1, "id", "eu", 32768), 1)


@pytest.mark.parametrize(
    ("facts", "check", "status"),
    [
        (SOUND, "", OK),
        (SOUND._replace(schema=None), "schema", FAIL),
        (SOUND._replace(schema_wanted=2), "schema", FAIL),
        (SOUND._replace(schema=Schema(9, 9, "id", "eu", 32768)), "schema", FAIL),
        (SOUND._replace(schema=Schema(1, 1, "id", "us", 32768)), "home-data-centre", FAIL),
        (SOUND._replace(servers=(("10.0.0.1", "eu", "3.11.4", "v2"),)), "server", WARN),
        (SOUND._replace(servers=(("10.0.0.1", "eu", "", "v2"),)), "server", WARN),
        (SOUND._replace(servers=(("10.0.0.1", "eu", "5.0.9", "v1"),)), "paxos", WARN),
        (SOUND._replace(servers=(("10.0.0.1", "eu", "5.0.9", ""),)), "paxos", WARN),
        (SOUND._replace(servers=(("10.0.0.9", "us", "3.11.4", "v1"),)), "", OK),
    ],
)
def test_what_servers_say(facts: ServerFacts, check: str, status: str) -> None:
    """One thing wrong, one finding about it with a remedy; other data centres do not count."""
    found = list(check_servers("cassandra://db/shop", facts))
    wrong = [one for one in found if one.status != OK]
    assert [(one.check, one.status) for one in wrong] == ([(check, status)] if check else [])
    assert all(one.remedy for one in wrong)


def test_paxos_without_linearizable_reads_is_a_fail() -> None:
    """It would lose acknowledged events."""
    assert paxos("db", "v1_without_linearizable_reads_or_rejected_writes").status == FAIL
    assert paxos("db", "v2_without_linearizable_reads").status == FAIL


# --- TLS ---


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """Certificates good for 100 days."""
    return _issue(tmp_path, 100)


def _issue(folder: Path, days: float) -> Tls:
    trustme = pytest.importorskip("trustme")
    from datetime import UTC, datetime, timedelta

    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=days))
    names = {name: folder / f"{name}.pem" for name in ("certificate", "key", "authority")}
    leaf.cert_chain_pems[0].write_to_path(names["certificate"])
    leaf.private_key_pem.write_to_path(names["key"])
    authority.cert_pem.write_to_path(names["authority"])
    names["key"].chmod(0o640)
    return Tls(*[str(path) for path in names.values()])


def _worst(tls: Tls, now_s: float | None = None) -> tuple[str, str]:
    found = list(check_tls("tls", tls, time.time() if now_s is None else now_s))
    order = [OK, WARN, FAIL]
    worst = max(found, key=lambda one: order.index(one.status))
    return worst.status, worst.found


def test_sound_certificates_are_ok(tls: Tls) -> None:
    """With the days they have left."""
    found = list(check_tls("tls", tls, time.time()))
    assert {one.status for one in found} == {OK}
    assert "expires in 100 days" in found[0].found


def test_expiry_warns_first_and_fails_then(tls: Tls) -> None:
    """Before peers refuse it."""
    now_s = time.time()
    assert _worst(tls, now_s + 90 * DAY_S)[0] == WARN
    status, text = _worst(tls, now_s + 101 * DAY_S)
    assert (status, "expired" in text) == (FAIL, True)


def test_expiry_is_read_without_cryptography_too(tls: Tls) -> None:
    """The package is no dependency."""
    assert certificates._expiry_by_openssl(tls.certificate) == expiry_s(tls.certificate)


def test_faults_of_tls_files_are_named(tls: Tls, tmp_path: Path) -> None:
    """Absent, another's key, no PEM, open to all; each before a node starts with it."""
    other = tmp_path / "other"
    other.mkdir()
    absent = Tls(tls.certificate, str(tmp_path / "absent.pem"), tls.authority)
    assert _worst(absent) == (FAIL, f"key {absent.key}: No such file or directory")
    foreign = Tls(tls.certificate, _issue(other, 9).key, tls.authority)
    status, text = _worst(foreign)
    assert (status, "cannot be used" in text) == (FAIL, True)
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    assert _worst(Tls(tls.certificate, tls.key, str(nonsense)))[0] == FAIL
    os.chmod(tls.key, 0o644)
    status, text = _worst(tls)
    assert (status, "every user may read it" in text) == (WARN, True)


def test_a_key_with_a_password_is_a_fail_and_no_question(tls: Tls) -> None:
    """OpenSSL would ask on the terminal, and a service has none."""
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key(Path(tls.key).read_bytes(), None)
    Path(tls.key).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert _worst(tls)[0] == FAIL


def test_tls_files_of_settings_are_checked(tls: Tls, tmp_path: Path) -> None:
    """Those of the node, and of each remote source."""
    settings = tmp_path / "node.toml"
    files = f'certificate = "{tls.certificate}"\nkey = "{tls.key}"\nauthority = "{tls.authority}"'
    text = f'service = "shop"\njournal = "{sqlite_url(tmp_path)}"\n[tls]\n{files}\n'
    settings.write_text(text)
    assert findings("--settings", str(settings))["tls tls"].status == OK
    remote = "\n".join(files.splitlines()).replace(tls.key, str(tmp_path / "absent.pem"))
    settings.write_text(
        text + '[[projections]]\nname = "p"\nhandler = "json:JSONDecoder"\n'
        'positions = "sqlite:///p.db"\n[projections.source]\nstream_id = "carts"\n'
        f'target = "shop:8101"\n[projections.source.tls]\n{remote}\n'
    )
    assert findings("--settings", str(settings))["tls projections[0].source.tls"].status == FAIL


# --- documentation ---


def test_every_check_is_documented(tmp_path: Path) -> None:
    """A name that --accept takes must be found somewhere."""
    url = sqlite_url(tmp_path)
    fill(url, [("c-1", Added("apple"))])
    servers: list[Any] = list(check_servers(url, SOUND))
    packages = {"msgpack", "click", "cassandra-driver", "google-re2"}
    for name in {*findings("--journal", url), *[one.check for one in servers]} - packages:
        assert f"`{name}`" in DOCS, name
