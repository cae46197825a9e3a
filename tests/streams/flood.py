"""A caller that never stops asking, as a process of its own: `python -m tests.streams.flood PORT
CONCURRENT CERTIFICATE KEY AUTHORITY`. Once its input ends it prints how its calls ended, and the
median of how long a refusal took, as JSON."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from typing import Any

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.settings import Remote, Tls
from thespian_dc.stream.channels import Channels
from thespian_dc.stream.lookups_client import LookupsClient


async def flood(port: str, concurrent: int, tls: Tls) -> dict[str, Any]:
    """Ask for heads, so many at a time."""
    client = LookupsClient(Channels(), Remote("carts", f"127.0.0.1:{port}", tls=tls), "flood")
    ended: Counter[str] = Counter()
    refused_s: list[float] = []
    enough = asyncio.create_task(asyncio.to_thread(sys.stdin.read))

    async def ask() -> None:
        while not enough.done():
            began = time.perf_counter()
            try:
                await client.heads()
                ended["answered"] += 1
            except ThespianDcError as error:
                ended[type(error).__name__] += 1
                refused_s.append(time.perf_counter() - began)

    await asyncio.gather(*(ask() for _ in range(concurrent)))
    return {"ended": ended, "refused_after_s": statistics.median(refused_s)}


if __name__ == "__main__":
    _, port, concurrent, *files = sys.argv
    print(json.dumps(asyncio.run(flood(port, int(concurrent), Tls(*files)))))
