"""Small command frames from process to process of one machine, past Thespian: as datagrams.

Laws: a frame is handed over only where nothing else of its sender is unacknowledged there, and the
host takes what was handed over before what Thespian brings; so no frame overtakes another one. What
cannot be handed over, and what comes again, goes by Thespian. A datagram that cannot be read is a
frame that was lost: its sender sends it again.
"""

from __future__ import annotations

from thespian_dc.entity.protocol import CommandFrame
from thespian_dc.shell.datagrams import Receiver, Sender, listen

HANDED_BYTES_MAX = 32 << 10
"""Of a frame's blob; larger ones cost Thespian little more."""
WHAT = "host"


class FrameSender:
    """From the actor or client at this address ("ip:port"), which answers are sent to."""

    def __init__(self, address: str) -> None:
        from msgpack import packb  # a client that is only imported needs none

        self._pack = packb
        self._address, self._sender = address, Sender(WHAT)

    def hand(self, host: str, frame: CommandFrame) -> bool:
        """True: the host at this address has it in its queue."""
        if len(frame.blob) > HANDED_BYTES_MAX:
            return False
        fields = (self._address, frame.client_id, frame.frame_nr, frame.blob)
        return self._sender.send(host, self._pack(fields))

    def close(self) -> None:
        self._sender.close()


class FrameReceiver:
    """A host's end, until `close`; made by `receive_frames`."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def fileno(self) -> int:
        """Readable when something was handed over."""
        return self._receiver.fileno()

    def take(self) -> tuple[str, CommandFrame] | None:
        """The next frame with its sender's address; None: there is none."""
        while (datagram := self._receiver.take()) is not None:
            found = unpack_handed(datagram)
            if found is not None:
                return found
        return None

    def close(self) -> None:
        self._receiver.close()


def receive_frames(address: str) -> FrameReceiver | None:
    """Of the host at this actor address; None where this machine has no place for it."""
    receiver = listen(address, WHAT, 2 * HANDED_BYTES_MAX)
    return None if receiver is None else FrameReceiver(receiver)


def unpack_handed(datagram: bytes) -> tuple[str, CommandFrame] | None:
    """The sender's address, and its frame; None for anything else."""
    from msgpack import unpackb

    try:
        address, client_id, frame_nr, blob = unpackb(datagram)
    except Exception:  # noqa: BLE001 - whatever it is, it is no frame
        return None
    kinds = type(address), type(client_id), type(frame_nr), type(blob)
    if kinds != (str, str, int, bytes):
        return None
    return address, CommandFrame(client_id, frame_nr, blob)
