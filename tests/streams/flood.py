"""A caller that never stops asking, as a process of its own: `python -m tests.streams.flood PORT
SECONDS CONCURRENT CERTIFICATE KEY AUTHORITY`. Prints how its calls ended, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.model.settings import Remote, Tls
from thespian_dc.stream.channels import Channels
from thespian_dc.stream.lookups_client import LookupsClient


async def flood(port: str, seconds: float, concurrent: int, tls: Tls) -> Counter[str]:
    """Ask for heads, so many at a time."""
    client = LookupsClient(Channels(), Remote("carts", f"127.0.0.1:{port}", tls=tls), "flood")
    ended: Counter[str] = Counter()
    until = time.monotonic() + seconds

    async def ask() -> None:
        while time.monotonic() < until:
            try:
                await client.heads()
                ended["answered"] += 1
            except ThespianDcError as error:
                ended[type(error).__name__] += 1

    await asyncio.gather(*(ask() for _ in range(concurrent)))
    return ended


if __name__ == "__main__":
    _, port, seconds, concurrent, *files = sys.argv
    print(json.dumps(asyncio.run(flood(port, float(seconds), int(concurrent), Tls(*files)))))
