"""What many seeds together must have met, and how it is printed."""

from __future__ import annotations

from thespian_dc.testkit.simulation.outcome import Outcome, Totals

CALLS_MIN = 2
FAULTS = (
    "append by a clock behind the last owner's", "append met another head or epoch",
    "append refused, overloaded", "append refused, poison",
    "append refused while an earlier send is in doubt",
    "call broken", "call broken while it waits for credit", "call half-open",
    "competing consumer", "competing owner", "competing owner of what is parted",
    "competing owner while an append is in doubt",
    "consumer crash", "consumer paused",
    "crash before an action", "crash during an append", "handler raised",
    "journal overloaded", "link cut",
    "producer crash", "producer paused", "slow handler",
    "stream message changed", "stream message cut", "stream message doubled",
    "stream message lost", "stream message overtaken", "stream message shortened",
    "member and client parted from the journal", "member paused past the move of its slices",
    "member stalled", "message doubled",
    "owner parted from the journal while an append is in doubt",
    "message late", "message lost",
    "read answer late", "read answer lost", "read request lost",
    "write answer late", "write answer lost", "write applied late", "write request lost",
)  # fmt: skip
TRANSITIONS = (
    "off -> claiming", "claiming -> reading claim", "claiming -> finding",
    "reading claim -> finding", "reading claim -> claiming", "finding -> installing",
    "finding -> off", "installing -> reading install", "installing -> reading last",
    "reading install -> reading last", "reading install -> finding", "reading last -> idle",
    "idle -> appending", "appending -> idle", "appending -> reading head",
    "reading head -> appending", "reading head -> reading row", "reading head -> idle",
    "reading head -> off", "reading row -> idle", "reading row -> off", "idle -> off",
)  # fmt: skip
HOST = (
    "AdvanceIndex", "Answer", "Append", "Claim", "CommitAt", "Confirm", "FindHead", "HeadAt",
    "Forward", "Install", "LastCommit", "LookUp", "Published", "ReadOwner", "Recover",
    "WriteStates",
)  # fmt: skip
REST = (
    "client: followed NOT_OWNER", "client: outcome unknown", "client: sent again",
    "client: told CommandNotWrittenError", "client: told CommandRejectedError",
    "client: told RevisionConflictError",
    "log: state deleted", "log: state with a change event", "log: state without one",
    "log trimmed", "log trimmed above a position",
    "projection: history read", "projection: state handled for all before it",
    "stream: history read",
    "host: known frame", "router: AskRoutes", "router: Deliver", "router: NOT_OWNER",
    "router: SendFrame", "router: host was gone", "router: outcome unknown",
    "projection: PositionConflictError", "projection: StreamGapError",
    "projection: filter by tags", "projection: filter by tags of single events",
    "projection: filter by topics", "projection: filter by topics of single events",
    "fault: answer of an actor late", "fault: answer of an actor never",
    "fault: answer of an actor twice", "client: told CommandFailedError",
    "host: Send", "host: Settle", "host: reported dead_letter",
    "fault: answer to a lookup cut", "stream: MalformedMessageError of a lookup",
    "stream: lookup answered", "stream: lookup answered in part",
    "projection: filter changed", "projection: filter in force", "projection: owed events handled",
    "fault: lookup not answered", "fault: position write unknown",
    "projection: batch handled", "projection: duplicate dropped", "projection: rescaled",
    "projection: slice released", "projection: slice taken from none",
    "projection: slice taken from the dead", "projection: slices changed",
    "projection: slices claimed",
)  # fmt: skip
STREAM = (
    "DamagedBatchError at the consumer", "MalformedMessageError at the consumer",
    "PeerSilentError at the consumer", "PeerSilentError at the producer",
    "PeerUnavailableError at the consumer", "PeerUnavailableError at the producer",
    "StreamGapError at the consumer",
    "batch handed over", "beat of the producer", "call opened",
    "dialled with batches unhandled", "duplicate dropped",
    "failed over to another node", "filter changed on an open call", "filter in force",
    "position of what passes nothing", "two calls at once", "waited with its call for room",
    "waits for credit",
)  # fmt: skip
WANTED = (
    *(f"fault: {one}" for one in FAULTS),
    *(f"writer: {one}" for one in TRANSITIONS),
    *(f"host: {one}" for one in HOST),
    *(f"stream: {one}" for one in STREAM),
    *REST,
)


class WriterTotals(Totals):
    """Beside the rest: calls of streams, in each seed."""

    wanted = WANTED

    def __init__(self) -> None:
        super().__init__()
        self.calls_least = 1 << 30

    def add(self, outcome: Outcome) -> None:
        super().add(outcome)
        self.calls_least = min(self.calls_least, outcome.hits["stream: call opened"])

    def missing(self) -> list[str]:
        left = super().missing()
        if self.calls_least < CALLS_MIN:
            left.append(f"{CALLS_MIN} calls of streams in each seed; one had {self.calls_least}")
        return left

    def summary(self) -> str:
        return f"{super().summary()}, {self.calls_least} calls of streams"
