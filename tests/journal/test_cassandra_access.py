"""A Cassandra that takes only TLS with a client's certificate, and users with passwords."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cassandra")

import trustme
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from cryptography.hazmat.primitives import serialization as pem

from tests.servers import own_cassandra
from thespian_dc.journal.api import open_journal
from thespian_dc.journal.cassandra.credentials import tls_of
from thespian_dc.journal.cassandra.open import apply_schema, check_schema
from thespian_dc.journal.cassandra.url import parse_url
from thespian_dc.model.errors import JournalAccessError, JournalError
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra
from thespian_dc.testkit.eventually import eventually
from thespian_dc.testkit.journal_cases.storage import Writer

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(400)]
KEY = SliceKey("cart", 0)


class Files:
    """An authority, what it issued, one that nobody trusts, and password files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority, stranger = trustme.CA(), trustme.CA()
        self.server = authority.issue_cert("127.0.0.1")
        self.authority = authority
        self.write("ca", authority.cert_pem.bytes())
        self.write("other-ca", stranger.cert_pem.bytes())
        for name, issuer in (("client", authority), ("stranger", stranger)):
            issued = issuer.issue_cert(f"{name}.example")
            self.write(f"{name}-cert", issued.cert_chain_pems[0].bytes())
            self.write(f"{name}-key", issued.private_key_pem.bytes())
        self.write("password", b"cassandra\n")
        self.write("wrong", b"guess\n")

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def query(self, **changed: str) -> str:
        """The query of a URL that the server takes, but for what is changed; "": left out."""
        files = {
            "tls_ca": "ca", "tls_cert": "client-cert", "tls_key": "client-key",
            "username": "", "password_file": "password", **changed,
        }  # fmt: skip
        pairs = {name: str(self.folder / file) for name, file in files.items() if file}
        pairs["username"] = changed.get("username", "cassandra")
        return "&".join(f"{name}={value}" for name, value in pairs.items() if value)

    def server_settings(self) -> dict[str, Any]:
        """As PEM: the server wants its key in PKCS 8."""
        key = pem.load_pem_private_key(self.server.private_key_pem.bytes(), None)
        text = key.private_bytes(
            pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()
        ) + b"".join(one.bytes() for one in self.server.cert_chain_pems)
        return {
            "authenticator": "PasswordAuthenticator",
            "authorizer": "CassandraAuthorizer",
            "client_encryption_options": {
                "enabled": True,
                "require_client_auth": True,
                "ssl_context_factory": {
                    "class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory",
                    "parameters": {
                        "private_key": text.decode(),
                        "trusted_certificates": self.authority.cert_pem.bytes().decode(),
                    },
                },
            },
        }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(files: Files) -> Iterator[EmbeddedCassandra]:
    with own_cassandra(heap_mb=512, settings=files.server_settings()) as server:
        yield server


@pytest.fixture(scope="module")
def journal_url(server: EmbeddedCassandra, files: Files) -> str:
    """With its schema. The server makes its first user a moment after it listens."""
    url = f"{server.url('guarded')}?{files.query()}"

    def has_schema() -> bool:
        try:
            return bool(apply_schema(url))
        except JournalAccessError as refused:
            raise AssertionError(str(refused)) from refused

    eventually(has_schema, deadline_s=30)
    return url


def test_a_journal_works_by_mutual_tls_as_a_user(journal_url: str) -> None:
    """Everything that a host does: settings of the server are read, slices taken, commits made."""
    journal = open_journal(journal_url)
    writer = Writer(journal, KEY).take_over()
    writer.write("a", "b", "a")
    assert journal.find_head(KEY).head == 3
    journal.close()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"tls_ca": "other-ca"}, "certificate does not come from tls_ca"),
        ({"password_file": "wrong"}, "does not take user 'cassandra' with the password in"),
        ({"username": "nobody"}, "does not take user 'nobody'"),
        ({"username": "", "password_file": ""}, r"wants a user; set \?username"),
    ],
    ids=["ca", "password", "user", "no user"],
)
def test_a_refusal_says_what_to_change(
    server: EmbeddedCassandra, journal_url: str, files: Files, changed: dict[str, str], says: str
) -> None:
    """Not as an outage, which would be tried again for ever; and never the password itself."""
    url = f"{server.url('guarded')}?{files.query(**changed)}"
    for work in (open_journal, apply_schema, check_schema):
        with pytest.raises(JournalAccessError, match=says) as refused:
            work(url)
        assert "guess" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "stranger-"])
def test_a_client_without_a_certificate_that_is_trusted_is_told(
    server: EmbeddedCassandra, journal_url: str, files: Files, name: str
) -> None:
    """The server ends the connection after the client's handshake, in one of several ways."""
    pair = {"tls_cert": name and f"{name}cert", "tls_key": name and f"{name}key"}
    with pytest.raises(JournalError, match=r"wants a client's certificate.*tls_cert.*tls_key"):
        open_journal(f"{server.url('guarded')}?{files.query(**pair)}")


def test_a_client_without_tls_is_told(server: EmbeddedCassandra, journal_url: str) -> None:
    """The server closes the connection without a word."""
    with pytest.raises(JournalError, match="a server that takes only TLS"):
        open_journal(server.url("guarded") + "?connect_timeout_s=2")


def test_a_user_without_permissions_is_named(
    server: EmbeddedCassandra, journal_url: str, files: Files
) -> None:
    """Which permission of which table: the server's own words. To read, `select` is enough."""
    auth = PlainTextAuthProvider("cassandra", "cassandra")
    with Cluster(
        [server.host], port=server.port, protocol_version=5, auth_provider=auth,
        ssl_context=tls_of(parse_url(journal_url)),
    ) as cluster:  # fmt: skip
        session = cluster.connect()
        for user in ("guest", "reader"):
            files.write(user, user.encode())
            session.execute(f"create role {user} with login = true and password = '{user}'")
        session.execute("grant select on keyspace guarded to reader")
    urls = {
        user: f"{server.url('guarded')}?{files.query(username=user, password_file=user)}"
        for user in ("guest", "reader")
    }
    with pytest.raises(JournalAccessError, match="user 'guest' has not the permissions"):
        open_journal(urls["guest"])
    reader = open_journal(urls["reader"])
    assert reader.find_head(KEY).epoch >= 0
    with pytest.raises(JournalError, match="MODIFY"):
        reader.claim(KEY, "m", bytes(16))
    reader.close()
