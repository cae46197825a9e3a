"""Mutual TLS by settings: who may connect, and what everybody else is told."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.streams.material import Added, Writer, counted, projection
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Remote, Tls
from thespian_dc.model.stream_errors import PeerNotTrustedError, PeerUnavailableError
from thespian_dc.testkit.eventually import eventually, never

PAST = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """A certificate authority whose files lie in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._ca = folder, trustme.CA()
        self.pem = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.pem)

    def tls(self, name: str, authority: str = "", *, client_auth: bool = True, **how: Any) -> Tls:
        """Files of a certificate for `name` that trusts `authority` (default: this one)."""
        issued = self._ca.issue_cert(name, **how)
        return self._written(name, issued.private_key_pem, issued.cert_chain_pems,
                             authority or self.pem, client_auth)  # fmt: skip

    def self_signed(self) -> Tls:
        """The authority's own certificate, misused as a server's."""
        return self._written("self", self._ca.private_key_pem, [self._ca.cert_pem], self.pem, True)

    def _written(self, name: str, key: Any, chain: Any, authority: str, client_auth: bool) -> Tls:
        key_path, chain_path = self._folder / f"{name}.key", self._folder / f"{name}.pem"
        key.write_to_path(str(key_path))
        chain_path.write_bytes(b"".join(pem.bytes() for pem in chain))
        return Tls(str(chain_path), str(key_path), authority, client_auth)


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def foreign(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "foreign")


def test_both_sides_with_certificates_of_one_authority(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority
) -> None:
    """The good case: events flow."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve(tls=ours.tls("127.0.0.1"))
    remote = Remote("carts", f"127.0.0.1:{port}", tls=ours.tls("ranking"))
    consume(projection(read_model, remote))
    eventually(lambda: counted(read_model) == {"apple": 1})


SERVERS = {
    "expired": lambda ours, foreign: ours.tls("127.0.0.1", not_after=PAST),
    "wrong authority": lambda ours, foreign: foreign.tls("127.0.0.1", ours.pem),
    "self-signed": lambda ours, foreign: foreign.self_signed(),
    "wrong name": lambda ours, foreign: ours.tls("other.example.org"),
}


@pytest.mark.parametrize("case", SERVERS)
def test_a_server_that_is_not_what_it_says_is_not_listened_to(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority, foreign: Authority,
    case: str,
) -> None:  # fmt: skip
    """The consumer refuses, says that the TLS session failed and why, and goes on trying."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve(tls=SERVERS[case](ours, foreign))
    remote = Remote("carts", f"127.0.0.1:{port}", tls=ours.tls("ranking"))
    _, sources = consume(projection(read_model, remote))
    eventually(lambda: sources and sources[0].reconnects >= 2)
    assert isinstance(sources[0].last_error, PeerNotTrustedError), sources[0].last_error
    assert counted(read_model) == {}


CLIENTS = {
    "expired": lambda ours, foreign: ours.tls("ranking", not_after=PAST),
    "wrong authority": lambda ours, foreign: foreign.tls("ranking", ours.pem),
    "plaintext": lambda ours, foreign: None,
}


@pytest.mark.parametrize("case", CLIENTS)
def test_a_client_that_is_not_of_our_authority_gets_nothing(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority, foreign: Authority,
    case: str,
) -> None:  # fmt: skip
    """The producer refuses in the handshake: no byte of such a peer reaches our code."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    server, port = serve(tls=ours.tls("127.0.0.1"))
    remote = Remote("carts", f"127.0.0.1:{port}", tls=CLIENTS[case](ours, foreign))
    _, sources = consume(projection(read_model, remote))
    eventually(lambda: sources and sources[0].reconnects >= 2)
    error = sources[0].last_error
    assert isinstance(error, PeerNotTrustedError | PeerUnavailableError), error
    never(lambda: counted(read_model) or server.calls, within_s=0.2)


def test_a_server_may_take_any_client(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority, foreign: Authority
) -> None:
    """client_auth=False: encryption and the server's identity without certificates of clients."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve(tls=ours.tls("127.0.0.1", client_auth=False))
    remote = Remote("carts", f"127.0.0.1:{port}", tls=foreign.tls("ranking", ours.pem))
    consume(projection(read_model, remote))
    eventually(lambda: counted(read_model) == {"apple": 1})


def test_an_unreadable_file_is_named(writer: Writer, serve: Any, ours: Authority) -> None:
    """The operator reads which of the three files it is."""
    good = ours.tls("127.0.0.1")
    with pytest.raises(SettingsError, match=r"Tls.key: /nowhere cannot be read"):
        serve(tls=Tls(good.certificate, "/nowhere", good.authority))
