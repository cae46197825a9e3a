"""docs/protocol.md is what other languages are written from: what it lists is what is sent."""

from __future__ import annotations

import re
from pathlib import Path

from thespian_dc.model import criteria, replication_handshake
from thespian_dc.model.access import StreamLimits
from thespian_dc.stream import lookups, producer_core, server
from thespian_dc.wire import lookups as wire_lookups
from thespian_dc.wire import parts, status

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
PROTO = (ROOT / "protos" / "thespian_dc" / "v1" / "streams.proto").read_text(encoding="utf-8")


def test_every_error_that_travels_stands_under_its_status() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| (.*?) \|", PAGE, re.MULTILINE)
    listed = {name: code for code, names in rows for name in re.findall(r"\w+Error", names)}
    assert listed == {name: kind.grpc_status for name, kind in status._TRAVELS.items()}


def test_limits_are_the_ones_in_force() -> None:
    limits = dict(re.findall(r"^\| ([^|]+?) \| (.+) \|$", PAGE.split("## Limits")[1], re.MULTILINE))
    mib, kib = 1 << 20, 1 << 10
    assert StreamLimits().request_bytes_max == mib == 1024 * kib
    assert 64 * mib == server.MESSAGE_BYTES_MAX
    assert limits["a message to the producer"] == "1 MiB; to a node that takes pushes 64 MiB"
    assert limits["texts in Start and requests"].startswith(f"{parts.TEXT_BYTES_MAX} ")
    assert limits["a filter"] == (
        f"{criteria.CRITERIA_MAX:,} criteria, {criteria.REGEXES_MAX} regexes of 1 KiB, "
        f"{criteria.TOPICS_MAX:,} topics, {criteria.FILTER_BYTES_MAX // kib} KiB"
    )
    assert limits["a batch"].startswith(
        f"{producer_core.BATCH_BYTES_MAX // kib} KiB of bodies and "
        f"{producer_core.BATCH_EVENTS_MAX:,} events"
    )
    answer = lookups.ANSWER_MAX
    assert limits["a lookup's answer"].startswith(
        f"{answer.bytes // mib} MiB and {answer.events:,} events"
    )
    assert limits["replicas in one list"] == (
        f"{replication_handshake.REPLICAS_MAX}, which is what a group may have had in its life; "
        f"{replication_handshake.ORIGIN_POSITIONS_MAX} positions of origins"
    )
    most, pages = wire_lookups.ENTITY_IDS_MAX, lookups.PAGES_MAX
    assert limits["ids in one answer"] == f"{most:,}; of {most * pages:,} entities looked at"
    assert limits["open calls"] == f"{server.CALLS_MAX:,} per producer"


def test_every_message_and_criterion_of_the_proto_is_explained() -> None:
    messages = set(re.findall(r"^message (\w+)", PROTO, re.MULTILINE))
    # What only wraps or answers another one is explained with that.
    wrappers = {"FromConsumer", "FromProducer", "SlicePosition", "Criteria", "Argument"}
    asked = {name for name in messages if name.endswith(("Request", "Answer"))}
    for name in messages - wrappers - asked:
        assert re.search(rf"\b{name}\b", PAGE), name
    for name in asked:
        assert re.search(rf"\b{name.removesuffix('Request').removesuffix('Answer')}\b", PAGE), name
