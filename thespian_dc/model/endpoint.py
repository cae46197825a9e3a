"""Where nodes meet: `host:port`, the files of mutual TLS, and what may pass without them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from thespian_dc.model.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Tls:
    """Mutual TLS by files, PEM. Both sides present `certificate`; `client_auth=False` on a server
    takes any client.

    authority: the CA that peers' certificates must descend from. A client without a certificate has
    "" for certificate and key. Changed files are taken for new connections, without a restart.
    server_name: of a client, the name that the server's certificate must show in place of the host
    that is dialled (DNS name, IP address, or the common name of a certificate that has neither).
    """

    certificate: str
    key: str
    authority: str
    client_auth: bool = True
    server_name: str = ""


def check_target(what: str, target: str) -> str:
    """Return the host of `host:port`, or raise SettingsError."""
    if not isinstance(target, str):
        raise SettingsError(f"{what} must be 'host:port', not {target!r}")
    host, colon, port = target.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{what} must be 'host:port', not {target!r}")
    return host


def check_plaintext(what: str, host: str, tls: Tls | None, allowed: bool) -> None:
    """SettingsError where plaintext would leave the machine and nobody said so."""
    if tls is None and not allowed and not is_loopback(host):
        raise SettingsError(
            f"{what}: {host} is not loopback and tls is not set; set tls=Tls(...) or "
            "plaintext_beyond_loopback=True"
        )


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")
