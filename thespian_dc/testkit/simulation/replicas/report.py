"""What many seeds of replicas together must have met, and how it is printed."""

from __future__ import annotations

from thespian_dc.testkit.simulation.outcome import Totals

FAULTS = (
    "a whole replica crashes", "append met another head or epoch", "append refused, overloaded",
    "call broken", "call half-open", "crash before an action", "crash during an append",
    "journal overloaded", "links crash", "links stopped", "message doubled", "message late",
    "message lost", "partition", "partition, one way", "process paused", "producer crash",
    "slices dealt again",
    "stream message changed", "stream message cut", "stream message doubled",
    "stream message lost", "stream message overtaken", "stream message shortened",
    "write answer lost", "write applied late",
)  # fmt: skip
REPLICA = (
    "a call of an edge lent", "an edge calls again", "an edge calls in vain",
    "no call of an edge is open",
    "a peer given back", "a peer taken from a dead node", "a peer taken that nobody had",
    "leases given back at a clean stop",
    "a state waits for trimmed events to be taken", "concurrent event", "filter changed",
    "a peer knows more of a log than there is",
    "forced promotion while the active one is cut off", "joined late",
    "journal put back to an older copy", "late event", "late event set aside", "own event fetched",
    "log trimmed", "lost for good", "promotion wished", "promotion wished, forced",
    "retired while it is down", "retirement wished", "state taken over",
    "told that it shows something else", "told while the call is open", "what is shown changed",
    "what is shown changed in a hot standby", "what is shown changed while one recovers",
    "what is shown changed while one retires", "withheld at rest",
)  # fmt: skip
LINKS = (
    "EntityIds", "EntityState", "LookUp", "absorbed", "failed", "reads some of a peer's slices",
    "waits",
)  # fmt: skip
WANTED = (
    *(f"fault: {one}" for one in FAULTS),
    *(f"replica: {one}" for one in REPLICA),
    *(f"link: {one}" for one in LINKS),
)


class ReplicaTotals(Totals):
    """Of seeds of replicas."""

    wanted = WANTED
