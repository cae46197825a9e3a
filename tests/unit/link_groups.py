"""One group of links with two peers, whose streams and whose entities are in a test's hand."""

from __future__ import annotations

from typing import Any

from thespian_dc.entity.api import Absorbed, Deliver, Outgoing
from thespian_dc.model.criteria import (
    Exclude,
    FilterInForce,
    Include,
    VersionedFilter,
)
from thespian_dc.model.ids import slice_of
from thespian_dc.model.link_progress import LinkProgress
from thespian_dc.model.position import Position
from thespian_dc.model.record import EVENT, Record, pack_record
from thespian_dc.model.replication import Listed
from thespian_dc.model.replication_handshake import Known, ReplicaStarted
from thespian_dc.model.replication_settings import Peer, Replication
from thespian_dc.model.role_errors import UnknownReplicaError
from thespian_dc.model.roles import Roles
from thespian_dc.projection.api import (
    CommitView,
    Lookup,
    SourceBatch,
    SourceDescription,
    SourceEvents,
)
from thespian_dc.replication.group import LinkGroup
from thespian_dc.replication.link import Came
from thespian_dc.shell.frames import pack
from thespian_dc.stream.replica_call import ReplicaCall

HERE = Replication("cart", "eu", [Peer("us", "localhost:1"), Peer("ap", "localhost:2")])
AT = {0: Position(5, b"w"), 1: Position(7, b"w")}
SOME = VersionedFilter(1, Exclude.all() + Include.entity_ids("a"))
MORE = VersionedFilter(2, SOME.filter + Include.entity_ids("b"))


class Source:
    """A peer's stream in the test's hand."""

    trouble = ""

    def __init__(self, peer: Peer, call: ReplicaCall) -> None:
        self.peer, self.call, self.is_open = peer.replica_id, call, False
        self.known: list[Known] = []
        self.lookups: list[tuple[Lookup, Any]] = []
        self.asked_ids: list[tuple[int, str, Any]] = []
        self.given_back: list[SourceBatch] = []

    def start(
        self, journal_id: str, at: Any, wanted: VersionedFilter, _: Any, on: SourceEvents
    ) -> None:
        self.positions, self.wanted, self.on, self.is_open = dict(at), wanted, on, True
        self.said = self.call.start()

    def stop(self) -> None:
        self.is_open = False

    def send_known(self, known: Known) -> None:
        self.known.append(known)

    def look_up(self, lookup: Lookup, on_answer: Any) -> None:
        self.lookups.append((lookup, on_answer))

    def entity_ids(self, slice_: int, after: str, on_answer: Any) -> None:
        self.asked_ids.append((slice_, after, on_answer))

    def handled(self, batch: SourceBatch) -> None:
        self.given_back.append(batch)


class Router:
    """Keeps the commands; the test answers them."""

    def __init__(self) -> None:
        self.commands: list[Outgoing] = []

    @property
    def core(self) -> Router:
        return self

    def under_way(self) -> int:
        return len(self.commands)

    def submit(self, commands: list[Outgoing], timeout_s: float) -> None:
        self.commands += commands

    def on_tick(self) -> None:
        """Nothing is timed here."""


class Group:
    """One group with two peers, driven step by step."""

    def __init__(self, wanted: VersionedFilter = SOME) -> None:
        self.sources: list[Source] = []
        self.came: list[Came] = []
        self.router = Router()

        self.met: list[ReplicaStarted] = []
        self.refuses = False
        self.listed: list[Listed] = []
        self.group = LinkGroup(
            HERE, self.make, Roles("eu"), self.came.append, self.check, self.met.append,
            self.listed.extend,
        )  # fmt: skip
        self.group.router = self.router  # type: ignore[assignment]
        progress = LinkProgress("journal", 0, AT, wanted.filter)
        self.group.begin({"us": progress, "ap": progress}, wanted)

    def make(self, peer: Peer, call: ReplicaCall) -> Any:
        self.sources.append(Source(peer, call))
        return self.sources[-1]

    def check(self, said: ReplicaStarted) -> None:
        if self.refuses:
            raise UnknownReplicaError("cart", said.replica_id, "eu, us")

    def open(self, source: Source, **said: Any) -> None:
        """The peer answers; its filter is in force."""
        source.call.on_started(ReplicaStarted(source.peer, "cart", ("ap", "eu", "us"), **said))
        source.on.started(SourceDescription("journal", "cart", 2))
        source.on.filter_in_force(FilterInForce(source.wanted.version, {0: 5, 1: 7}))
        self.run()

    def run(self) -> None:
        while self.came:
            came = list(self.came)
            self.came.clear()
            self.group.on_came(came)

    def now_open(self) -> list[Source]:
        return [one for one in self.sources if one.is_open]

    def answer(self, outcome: Absorbed) -> None:
        ticket = self.router.commands.pop(0).ticket
        self.group.on_outcomes([Deliver(ticket, 0, pack(outcome))])


def batch(entity_id: str, n: int, said: list[Any] | None = None, kind: int = EVENT) -> SourceBatch:
    """One record; said: its "r", where it is not the peer's own event."""
    number = slice_of(entity_id, 2)
    base = AT[number].offset
    record = Record(kind, entity_id, n, "m@1", b"p", (), "", None, {"r": said or [n, {}]})
    body = b"\xdd\x00\x00\x00\x01" + pack_record(record)
    view = CommitView(base, base + 1, b"w" * 16, 0, body)
    return SourceBatch(number, base, base + 1, base + 1, [view])
