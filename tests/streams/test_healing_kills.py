"""SIGKILL of a consumer at random points while its filter changes, entities are owed and debts are
paid: at the end everything is handled, once, in each entity's order."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.streams.material import Added, Writer, offsets, projection, rows
from tests.streams.processes import Child, start_consumer, start_producer
from tests.streams.test_healing import change, debts, in_force, seen
from tests.streams.test_kills import settings
from thespian_dc.model.criteria import Exclude, Filter, Include
from thespian_dc.model.settings import Remote
from thespian_dc.testkit.eventually import eventually

pytestmark = pytest.mark.processes
ENTITIES = [f"c-{nr}" for nr in range(40)]
KILLS = 10
KILLS_MAX = 60


def random_filter(rng: random.Random) -> Filter:
    """What is wanted of forty entities."""
    some = rng.sample(ENTITIES, 10)
    return rng.choice(
        [
            Exclude.entity_ids(*some),
            Include.entity_ids(*some).spelled_out(),
            Include.tags("red").spelled_out(),
            Exclude.tags("red") + Include.entity_ids(*some[:3]),
            Filter(),
        ]
    )


def write(writer: Writer, rng: random.Random, commits: int) -> None:
    """Some of the entities each time, some of the events with a tag."""
    for _ in range(commits):
        tags = ("red",) if rng.random() < 0.3 else ()
        writer.add([(one, Added("x", 1)) for one in rng.sample(ENTITIES, 20)], tags)


@pytest.mark.timeout(300)
def test_consumer_killed_while_filters_change(
    writer: Writer, journal_url: str, tmp_path: Path, children: list[Child]
) -> None:
    """Whatever step of healing a kill meets."""
    read_model, rng = tmp_path / "read.db", random.Random(11)
    producer = start_producer(settings(journal_url))
    children.append(producer)
    wanted = projection(read_model, Remote("carts", f"127.0.0.1:{producer.answer}"))
    met = kills = 0
    while kills < KILLS or (not met and kills < KILLS_MAX):
        kills += 1
        before = sum(offsets(read_model).values())
        write(writer, rng, 5)
        consumer = start_consumer(wanted)
        children.append(consumer)
        eventually(lambda b=before: sum(offsets(read_model).values()) > b, deadline_s=60)
        for _ in range(rng.randint(1, 3)):
            change(read_model, random_filter(rng))
            ends = time.monotonic() + rng.random() * 0.1
            eventually(lambda e=ends: time.monotonic() > e, every_s=0.001)
            write(writer, rng, 3)
        consumer.kill()
        met += bool(debts(read_model))
    children.append(start_consumer(wanted))
    change(read_model, Filter())
    [(version,)] = rows(read_model, "select version from thespian_dc_filters")
    eventually(lambda: in_force(read_model, version), deadline_s=90)
    writer.add([(one, Added("x", 1)) for one in ENTITIES])
    expected = {one: list(range(1, writer.seq_nrs[one] + 1)) for one in ENTITIES}
    eventually(lambda: seen(read_model) == expected, deadline_s=90)
    eventually(lambda: not debts(read_model))
    assert met, "no kill met a debt"
