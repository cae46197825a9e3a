"""100,000 entities in the memory of one host, three state fields and one answered command each: how
much memory the host takes more than before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.entities import TEXT, Account, Add
from bench.harness import Result, must_equal
from bench.world import Load, actor_system, check, folder, node_of, serving
from thespian_dc import Client, Limits, Node, Settings
from thespian_dc.testkit.eventually import eventually

ENTITIES, IN_FLIGHT, KEPT_S = 100_000, 2000, 3600.0


def rss_kib(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has no resident memory")


def host_of(node: Node) -> dict[str, Any]:
    hosts = node.status()["hosts"]
    must_equal("hosts", 1, len(hosts))
    return dict(hosts[0])


def one_command_each(client: Client, load: Load) -> None:
    def commands() -> Iterator[tuple[str, str, Any]]:
        for entity_id in load.ids:
            load.sent[entity_id] += 1
            yield "account", entity_id, Add(TEXT, 1)

    answers = client.ask_many(commands(), in_flight=IN_FLIGHT, timeout_s=60)
    must_equal("sum of the answers", len(load.ids), sum(answers))


def run() -> list[Result]:
    with folder() as path, actor_system() as system:
        journal = f"sqlite:///{path / 'j.db'}"
        settings = Settings(
            "bench", journal=journal, entities=[Account],
            limits=Limits(passivate_after_s=KEPT_S, resident_max=2 * ENTITIES),
        )  # fmt: skip
        with serving(system, settings) as client:
            # What a frame of commands takes for a moment is there before and after.
            Load(client, 1, prefix="warm-up").rate(IN_FLIGHT, 2.0)
            node = node_of(system, settings)
            before = rss_kib(host_of(node)["pid"])
            load = Load(client, ENTITIES)
            one_command_each(client, load)
            # A host reports twice a second.
            eventually(lambda: host_of(node)["resident"] >= ENTITIES)
            host = host_of(node)
            after = rss_kib(host["pid"])
        check(journal, load)
    against = {
        "host_rss_before_mib": round(before / 1024, 1),
        "host_rss_after_mib": round(after / 1024, 1),
        "resident": host["resident"],
    }
    kib = (after - before) / ENTITIES
    return [Result("residents", kib, 2.0, "KiB each", "lower", against)]
