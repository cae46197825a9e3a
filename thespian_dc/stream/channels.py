"""Connections to other services: one channel per target for all streams of this process. Lives on
the stream loop."""

from __future__ import annotations

from pathlib import Path

import grpc.aio

from thespian_dc.model.access import FROM_FILE, check_metadata
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Push, Remote, Tls
from thespian_dc.stream.tls import channel_credentials

SERVICE = "thespian_dc.v1.EventStreams"
METHOD = f"/{SERVICE}/Pull"
DESTINATION = "thespian_dc.v1.EventDestination"
PUSH_METHOD = f"/{DESTINATION}/Push"
MESSAGE_BYTES_MAX = 64 << 20
"""Of a batch: a single command's commit may be as large as the producer's journal allows."""
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 0),
    # A channel that replaces a dead one must not be given the dead one's connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


def metadata_of(dialled: Remote | Push) -> tuple[tuple[str, str], ...]:
    """What its requests carry; SettingsError for a file that cannot be read."""
    return tuple((key, _value(key, value)) for key, value in dialled.metadata.items())


def _value(key: str, value: str) -> str:
    if not value.startswith(FROM_FILE):
        return value
    path = value.removeprefix(FROM_FILE)
    try:
        found = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not ASCII"
        raise SettingsError(f"metadata {key!r}: {path} cannot be read ({reason})") from error
    check_metadata({key: found})
    return found


class SharedChannel:
    """A channel with the number of calls that use it."""

    def __init__(self, key: tuple[str, Tls | None]) -> None:
        self.key, self.users = key, 0
        target, tls = key
        if tls is None:
            self.channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        else:
            named = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
            options = [*_OPTIONS, *named]
            self.channel = grpc.aio.secure_channel(target, channel_credentials(tls), options)


class Channels:
    """The channels of one loop."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, Tls | None], SharedChannel] = {}

    def take(self, target: str, tls: Tls | None) -> SharedChannel:
        """The channel to a target, connected when first used. SettingsError for unreadable
        files."""
        key = (target, tls)
        shared = self._open.get(key)
        if shared is None:
            shared = self._open[key] = SharedChannel(key)
        shared.users += 1
        return shared

    async def give_back(self, shared: SharedChannel, broken: bool) -> None:
        """The call ended. broken: whoever comes next gets a new connection; the last one out
        closes it."""
        shared.users -= 1
        if (broken or shared.users == 0) and self._open.get(shared.key) is shared:
            del self._open[shared.key]
        if shared.users == 0:
            await shared.channel.close()
