"""Who may see which stream, and how much one may ask. Pure values and rules.

Deny by default: where any stream of a server has a rule, those without one are closed to everybody.
A rule is a name in the peer's certificate: a subject alternative name ("ranking.example.org",
"spiffe://example.org/ranking"), or the common name of one that has none; or ANYONE whom the server
lets in at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thespian_dc.model.criteria import CRITERIA_MAX, FILTER_BYTES_MAX
from thespian_dc.model.errors import SettingsError

ANYONE = "*"


def check_allow(stream_id: str, allow: Sequence[str] | None) -> None:
    """SettingsError for what is no list of names; an empty one lets nobody in."""
    named = allow is None or (not isinstance(allow, str) and all(allow))
    if not named:
        raise SettingsError(
            f"stream {stream_id}: allow must be a list of names in certificates, not {allow!r}"
        )


FROM_FILE = "file:"
_KEY = re.compile(r"[0-9a-z_.-]+")


def check_metadata(metadata: Mapping[str, str]) -> None:
    """SettingsError for what cannot stand in a request; values are not shown."""
    for key, value in metadata.items():
        reserved = key.startswith(("grpc-", "thespian-dc-")) or key.endswith("-bin")
        if not _KEY.fullmatch(key) or reserved:
            raise SettingsError(f"metadata {key!r}: a key is of 0-9 a-z _ . - and not reserved")
        if not (value and value.isascii() and value.isprintable()):
            raise SettingsError(f"metadata {key!r}: its value must be printable ASCII")


class Rules:
    """The rules of all streams of a server. allow: by stream id; None: the stream has no rule."""

    def __init__(self, allow: Mapping[str, Sequence[str] | None]) -> None:
        self._closed = any(rules is not None for rules in allow.values())
        self._allow = {
            stream_id: frozenset(rules) for stream_id, rules in allow.items() if rules is not None
        }

    @property
    def needs_certificates(self) -> bool:
        """Does any rule name somebody?"""
        return any(rules - {ANYONE} for rules in self._allow.values())

    def permit(self, stream_id: str, identities: Iterable[str]) -> bool:
        """May a peer with these identities see the stream? False for one that does not exist, where
        there is any rule."""
        rules = self._allow.get(stream_id)
        if rules is None:
            return not self._closed
        return ANYONE in rules or not rules.isdisjoint(identities)


@dataclass(frozen=True, slots=True)
class StreamCall:
    """A call about a stream, as an interceptor sees it.

    kind: the method, "Pull", "LookUp", "Heads", "PositionAt", "Push", or between replicas
    "EntityState" or "EntityIds". stream_id: as asked for;
    there may be no such stream. consumer: what the caller says of itself. metadata: of the request,
    keys in lower case, values text (bytes where the key ends in -bin), of one key the last. peer:
    the address. identities: the names in its certificate; empty without one.
    """

    kind: str
    stream_id: str
    consumer: str
    metadata: Mapping[str, Any]
    peer: str
    identities: frozenset[str]


Interceptor = Callable[[StreamCall], Any]


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one identity may ask of a server that serves streams. Over a limit a call ends as
    RESOURCE_EXHAUSTED with a named error. One identity is all names of a certificate together, or
    the host of a peer without one.
    """

    streams_per_identity: int = 1_000
    """Open streams."""
    requests_per_s: int = 1_000
    """Calls of any kind and changes of filters, in the long run."""
    requests_burst: int = 2_000
    """And so many at once."""
    questions_per_identity: int = 64
    """Lookups, heads and positions of a time that are asked and not yet answered."""
    request_bytes_max: int = 1 << 20
    """Of one message of a consumer; a Start with 1,024 positions is 60 KiB."""
    filter_criteria_max: int = CRITERIA_MAX
    filter_bytes_max: int = FILTER_BYTES_MAX
    """Of the texts of one filter."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1")
        for name, most in (
            ("filter_criteria_max", CRITERIA_MAX), ("filter_bytes_max", FILTER_BYTES_MAX),
        ):  # fmt: skip
            if getattr(self, name) > most:
                raise SettingsError(f"{name} must be at most {most}: no filter has more")


@dataclass(frozen=True, slots=True)
class Access:
    """What a server asks of calls beside the rules of its streams. interceptor: (StreamCall) ->
    None, or a CallRefusedError, which it may raise as well; also `async def`."""

    limits: StreamLimits = field(default_factory=StreamLimits)
    interceptor: Interceptor | None = None
    reflection: bool = False
