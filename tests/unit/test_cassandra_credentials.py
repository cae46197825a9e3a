"""What a connection that ends in the handshake may mean, said beside the outage that it may be."""

from __future__ import annotations

import ssl

from thespian_dc.journal.cassandra.credentials import hint_of
from thespian_dc.journal.cassandra.url import parse_url

CLOSED = (
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:2427)"),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
)


def test_an_end_of_a_tls_handshake_hints_at_the_clients_certificate() -> None:
    """However the end shows: the server may have gone on before the client wrote, or not."""
    parsed = parse_url("cassandra://one:9042/shop?tls_ca=ca.pem")
    assert all("tls_cert, tls_key" in hint_of(parsed, error) for error in CLOSED)
    assert hint_of(parsed, TimeoutError("timed out")) == ""


def test_an_end_without_tls_hints_at_tls() -> None:
    parsed = parse_url("cassandra://one:9042/shop")
    assert all("takes only TLS" in hint_of(parsed, error) for error in CLOSED)
