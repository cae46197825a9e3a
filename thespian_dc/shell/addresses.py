"""Actor addresses as text and back: "ip:port" is what the registry and routes hold.

Only of TCP bases; on simpleSystemBase an address is a name and stays in its process.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from thespian.actors import ActorAddress
from thespian.system.transport.IPBase import TCPv4ActorAddress


def text_of(address: Any) -> str:
    """"ip:port" of a TCP actor address, "" of any other."""
    name = getattr(getattr(address, "addressDetails", None), "sockname", None)
    return f"{name[0]}:{name[1]}" if name else ""


def key_of(address: Any) -> str:
    """The same for equal addresses of this actor system."""
    return text_of(address) or str(address)


@lru_cache(maxsize=4096)
def address_of(text: str) -> Any:
    """The ActorAddress that `text_of` gave the text of; in any process that can reach it."""
    host, _, port = text.rpartition(":")
    return ActorAddress(TCPv4ActorAddress(host, int(port), external=True))
