"""Credentials from the files that settings name. Read here and nowhere else; contents never enter
a message."""

from __future__ import annotations

from pathlib import Path

import grpc

from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Tls


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """For a listening server; client_auth asks every client for a certificate of our authority."""
    key, certificate, authority = _read("key", tls.key), _read("certificate", tls.certificate), None
    if tls.client_auth:
        authority = _read("authority", tls.authority)
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=tls.client_auth
    )


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """For a client that shows its own certificate."""
    return grpc.ssl_channel_credentials(
        root_certificates=_read("authority", tls.authority),
        private_key=_read("key", tls.key),
        certificate_chain=_read("certificate", tls.certificate),
    )


def _read(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"Tls.{field}: {path} cannot be read ({error.strerror})") from error
