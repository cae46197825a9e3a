"""Mutual TLS by settings: who may connect, and what everybody else is told."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.streams.asking import asked
from tests.streams.certificates import Authority
from tests.streams.material import Added, Writer, counted, projection
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Remote, Tls
from thespian_dc.model.stream_errors import PeerNotTrustedError, PeerUnavailableError
from thespian_dc.testkit.eventually import eventually, never

PAST = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


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


def test_a_target_of_several_addresses_shows_one_name(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority
) -> None:
    """Whichever of its nodes answers; here the first one does not."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve(tls=ours.tls("shop.example.org"))
    own = replace(ours.tls("ranking"), server_name="shop.example.org")
    consume(
        projection(
            read_model, Remote("carts", f"ipv4:127.0.0.1:{free_port()},127.0.0.1:{port}", own)
        )
    )
    eventually(lambda: counted(read_model) == {"apple": 1})


SERVERS = {
    "expired": (lambda ours, foreign: ours.tls("127.0.0.1", not_after=PAST), "expired: "),
    "authority": (lambda ours, foreign: foreign.tls("127.0.0.1", ours.pem), "wrong authority: "),
    "self-signed": (lambda ours, foreign: foreign.self_signed(), "wrong authority: "),
    "wrong name": (lambda ours, foreign: ours.tls("other.example.org"), "wrong name: "),
    "plaintext": (lambda ours, foreign: None, "plaintext: "),
}


@pytest.mark.parametrize("case", SERVERS)
def test_a_server_that_is_not_what_it_says_is_not_listened_to(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority, foreign: Authority,
    case: str,
) -> None:  # fmt: skip
    """The consumer refuses, says that the TLS session failed and why, and goes on trying."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    make, reason = SERVERS[case]
    _, port = serve(tls=make(ours, foreign))
    remote = Remote("carts", f"127.0.0.1:{port}", tls=ours.tls("ranking"))
    _, sources = consume(projection(read_model, remote))
    eventually(lambda: sources and sources[0].reconnects >= 2)
    error = sources[0].last_error
    assert isinstance(error, PeerNotTrustedError), error
    assert error.reason.startswith(reason), error.reason
    assert counted(read_model) == {}


CLIENTS = {
    "expired": (
        lambda ours, foreign: ours.tls("ranking", not_after=PAST), "own certificate: expired",
    ),
    "wrong authority": (
        lambda ours, foreign: foreign.tls("ranking", ours.pem), "own certificate: wrong authority",
    ),
    "no certificate": (lambda ours, foreign: ours.nobody(), "no certificate: "),
    "plaintext": (lambda ours, foreign: None, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CLIENTS)
def test_a_client_that_is_not_of_our_authority_gets_nothing(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority, foreign: Authority,
    case: str,
) -> None:  # fmt: skip
    """The producer refuses in the handshake: no byte of such a peer reaches our code. The consumer
    finds out by itself what was wrong with its certificate."""
    read_model = tmp_path / "read.db"
    writer.add([("c-1", Added("apple", 1))])
    server, port = serve(tls=ours.tls("127.0.0.1"))
    make, reason = CLIENTS[case]
    remote = Remote("carts", f"127.0.0.1:{port}", tls=make(ours, foreign))
    _, sources = consume(projection(read_model, remote))
    eventually(lambda: sources and sources[0].reconnects >= 2)
    error = sources[0].last_error
    if case == "plaintext":  # who speaks no TLS cannot tell what it met
        assert isinstance(error, PeerUnavailableError), error
    else:
        assert isinstance(error, PeerNotTrustedError), error
        assert error.reason.startswith(reason), error.reason
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


def test_certificates_are_replaced_while_serving(
    writer: Writer, serve: Any, consume: Any, tmp_path: Path, ours: Authority, foreign: Authority
) -> None:
    """A new authority and new certificates on both sides, nothing restarted: whoever connects from
    then on is judged by the new ones, the open stream goes on."""
    read_model, rotated = tmp_path / "read.db", Authority(tmp_path / "rotated")
    served, shown = ours.tls("127.0.0.1"), foreign.tls("ranking")
    ours.replace(shown, "ranking")
    trusted = tmp_path / "trusted.pem"  # a file of its own: the two sides change one by one
    trusted.write_bytes(Path(ours.pem).read_bytes())
    served = Tls(served.certificate, served.key, str(trusted))
    server, port = serve(tls=served)
    remote = Remote("carts", f"127.0.0.1:{port}", tls=shown)
    _, sources = consume(projection(read_model, remote))
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 1})

    rotated.replace(served, "127.0.0.1")
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 2})
    assert sources[0].reconnects == 0
    assert asked(port, "heads", tls=rotated.tls("other")).positions
    with pytest.raises(PeerNotTrustedError):
        asked(port, "heads", tls=ours.tls("old", rotated.pem))

    rotated.replace(shown, "ranking")
    for call in list(server._calls):
        call.end(PeerUnavailableError("this", "the test says so"))
    writer.add([("c-1", Added("apple", 1))])
    eventually(lambda: counted(read_model) == {"apple": 3})
    assert len(sources) == 1


@pytest.mark.parametrize(
    ("server_name", "trusted"),
    [("eu.shop", True), ("127.0.0.1", True), ("", True), ("us.shop", False), ("eu node", False)],
)
def test_a_name_stands_in_place_of_the_hosts(
    writer: Writer, serve: Any, ours: Authority, server_name: str, trusted: bool
) -> None:
    """The certificate must show it, also where it shows the host's name."""
    writer.add([("c-1", Added("apple", 1))])
    _, port = serve(tls=ours.tls("127.0.0.1", also="eu.shop"))
    client = replace(ours.tls("ranking"), server_name=server_name)
    if trusted:
        assert asked(port, "heads", tls=client).positions
    else:
        with pytest.raises(PeerNotTrustedError, match="wrong name"):
            asked(port, "heads", tls=client)


@pytest.mark.parametrize("how", [{}, {"common_name": "eu node"}])
def test_a_server_whose_certificate_does_not_show_its_host_is_taken_by_its_name(
    writer: Writer, serve: Any, ours: Authority, how: dict[str, str]
) -> None:
    name = how.get("common_name", "eu.shop")
    _, port = serve(tls=ours.tls(name, **how))
    client = ours.tls("ranking")
    assert asked(port, "heads", tls=replace(client, server_name=name)).positions
    with pytest.raises(PeerNotTrustedError, match="wrong name"):
        asked(port, "heads", tls=client)


def test_half_replaced_files_change_nothing(
    writer: Writer, serve: Any, ours: Authority, foreign: Authority
) -> None:
    """A key that does not fit the certificate, or a file that is missing for a moment: the former
    ones stay, and the new ones are taken when they fit."""
    served, client = ours.tls("127.0.0.1"), ours.tls("ranking")
    _, port = serve(tls=served)
    assert asked(port, "heads", tls=client).positions
    key, certificate = Path(served.key).read_bytes(), Path(served.certificate)
    Path(served.key).write_bytes(Path(foreign.tls("x").key).read_bytes())
    assert asked(port, "heads", tls=client).positions
    before = certificate.read_bytes()
    certificate.unlink()
    assert asked(port, "heads", tls=client).positions
    certificate.write_bytes(before)
    Path(served.key).write_bytes(key)
    assert asked(port, "heads", tls=client).positions
    ours.replace(served, "elsewhere.example.org")
    with pytest.raises(PeerNotTrustedError, match="wrong name"):
        asked(port, "heads", tls=client)
