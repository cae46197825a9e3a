"""Who is at the other end of a call: the names in its certificate, as the TLS session proved them.

A name of our authority's certificate is proved; what a message says of its sender is not.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote

from thespian_dc.model.endpoint import is_loopback

SUBJECT_ALTERNATIVE_NAME = "x509_subject_alternative_name"
COMMON_NAME = "x509_common_name"


def identities(context: Any) -> frozenset[str]:
    """The peer's names: subject alternative names, the common name only where there are none.
    Empty without TLS, and where its certificate was not asked for."""
    proved = context.auth_context()
    names = proved.get(SUBJECT_ALTERNATIVE_NAME) or proved.get(COMMON_NAME) or ()
    return frozenset(name.decode("utf-8", "replace") for name in names)


class Caller(NamedTuple):
    """peer: the address, as gRPC writes it. identities: of a verified certificate."""

    peer: str
    identities: frozenset[str]

    @property
    def identity(self) -> str:
        """What limits are counted for: all names of the certificate, or else the host."""
        return " ".join(sorted(self.identities)) or f"host {_host_of(self.peer)}"

    @property
    def is_local(self) -> bool:
        """Does it call from this machine?"""
        family = self.peer.partition(":")[0]
        return family == "unix" or is_loopback(unquote(_host_of(self.peer)))


def caller_of(context: Any) -> Caller:
    """The caller of a grpc.aio servicer context."""
    return Caller(context.peer(), identities(context))


def _host_of(peer: str) -> str:
    """Of "ipv4:10.0.0.1:4711" or "ipv6:%5B::1%5D:4711"; the text itself for others."""
    family, _, address = peer.partition(":")
    return address.rpartition(":")[0] if family in {"ipv4", "ipv6"} else peer
