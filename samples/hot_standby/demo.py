"""Accounts in two regions, of which one takes commands and the other one stands by; the active one
is killed, the other one promoted, and then the killed one comes back.

East is active. Its link to west is cut, it takes some more commands, and all of its processes are
killed (SIGKILL): what west has is not all. West is promoted from the command line, as an operator
does it: refused at first, since nobody can say what it lacks, then forced. East comes back, hears
that it was replaced, and hands over what only it had; both regions come to the same accounts, with
what is in doubt shown and listed. Any difference at the end is an error.

Run it with `make demo-hot-standby`.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from account import Deposit, Withdraw
from region import Region

from thespian_dc.model.replication_errors import StandbyError
from thespian_dc.testkit.proxy import FaultProxy

ACCOUNTS = [f"account-{n}" for n in range(20)]
COMMANDS = Path(sys.executable).parent
"""Where this environment keeps its console commands."""
WITHIN_S = 60


class Demo:
    """links: the ways from either region to the other."""

    def __init__(self, east: Region, west: Region, links: list[FaultProxy]) -> None:
        self.east, self.west, self.links = east, west, links
        self.written = 0

    def run(self) -> bool:
        east, west = self.east, self.west
        self.write(east, Deposit(100), times=10)
        self.write(east, Withdraw(30), times=10)
        wait_until("west to follow", lambda: west.events() == self.written)
        print(f"{self.written} commands at east, all of them at west; a command at west:")
        checks = {"a standby refuses commands": self.active_of(west) == "east"}

        for link in self.links:
            link.refuse()
        self.write(east, Withdraw(50), times=1)
        lost = east.events() - west.events()
        print(f"\n✂ the link is cut; {lost} more commands at east are acknowledged")
        east.kill()
        killed_s = time.monotonic()
        print("✝ east is killed: SIGKILL to all of its processes")

        refused = self.operator(west, "promote", "--timeout", "3")
        checks["a promotion that may lack something is refused"] = refused.returncode != 0
        forced = self.operator(west, "promote", "--timeout", "3", "--force")
        checks["a forced one says what it does not know of"] = "unknown" in forced.stdout
        wait_until("west to take commands", lambda: not self.active_of(west, quiet=True))
        print(f"west takes commands, {time.monotonic() - killed_s:.1f} s after the kill")
        self.write(west, Withdraw(40), times=1)

        for link in self.links:
            link.heal()
        east.start(free_port())
        print("\n✚ east is back and the link is healed; a command at east:")
        wait_until("east to stand by", lambda: self.active_of(east, quiet=True) == "west")
        checks["who was replaced stands by"] = self.active_of(east) == "west"
        wait_until("both to have all", lambda: {east.events(), west.events()} == {self.written})
        checks["each command is stored once in both regions"] = True
        return self.compare(checks, lost)

    def compare(self, checks: dict[str, bool], lost: int) -> bool:
        east, west = (one.standings(ACCOUNTS) for one in (self.east, self.west))
        for name, found in (("east", east), ("west", west)):
            doubt = sum(one.in_doubt for one in found)
            print(
                f"  {name}: {sum(one.balance for one in found)} in all, {doubt} accounts in doubt"
            )
        self.operator(self.west, "status")
        status = subprocess.run(
            self.command(self.west, "status", "--json"), capture_output=True, check=False
        )
        listed = json.loads(status.stdout)["listed"]
        print(f"{listed} events of east are listed at west: written before it heard of west")
        checks |= {
            "accounts are the same in both regions": east == west,
            "what east wrote alone is listed": listed == lost == len(ACCOUNTS),
            "each account that both wrote alone is in doubt": all(one.in_doubt for one in west),
        }
        self.operator(self.east, "promote")
        wait_until("east to take commands", lambda: not self.active_of(self.east, quiet=True))
        checks["a planned change lacks nothing"] = self.west.events() == self.east.events()
        for fact, holds in checks.items():
            print(f"{'ok ' if holds else 'NOT'} {fact}")
        return all(checks.values())

    # --- steps ---

    def write(self, region: Region, command: object, times: int) -> None:
        """To each account, so many times; each is acknowledged."""
        for account_id in ACCOUNTS * times:
            region.ask(account_id, command)
            self.written += 1

    def active_of(self, region: Region, quiet: bool = False) -> str:
        """Who is active, as a region says that refuses a command; "": it takes commands. It is one
        that persists nothing."""
        try:
            region.ask(ACCOUNTS[0], Withdraw(1_000_000))
        except StandbyError as refused:
            if not quiet:
                print(f"  {type(refused).__name__}: {refused}")
            return refused.active or "nobody"
        return ""

    def command(self, region: Region, verb: str, *options: str) -> list[str]:
        program = str(COMMANDS / "thespian-dc")
        where = ["--type", "account", "--journal", region.journal]
        return [program, "replication", verb, *where, *options]

    def operator(
        self, region: Region, verb: str, *options: str
    ) -> subprocess.CompletedProcess[str]:
        """What an operator types, in a process of its own."""
        command = self.command(region, verb, *options)
        print(f"\n$ thespian-dc {' '.join(command[1:])}", flush=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout + done.stderr, end="", flush=True)
        return done


def wait_until(what: str, fact: Callable[[], bool]) -> None:
    """SystemExit where it does not become true."""
    deadline = time.monotonic() + WITHIN_S
    while not fact():
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: waited {WITHIN_S} s for {what}")
        time.sleep(0.05)


def main() -> int:
    signal.signal(signal.SIGTERM, end)
    folder = Path(tempfile.mkdtemp(prefix="thespian_dc_demo_"))
    listen = {name: free_port() for name in ("east", "west")}
    with ExitStack() as stack:
        to = {
            name: stack.enter_context(FaultProxy("127.0.0.1", port))
            for name, port in listen.items()
        }
        regions = {}
        for name, other in (("east", "west"), ("west", "east")):
            regions[name] = region = Region(
                name, folder, f"127.0.0.1:{listen[name]}", other, f"127.0.0.1:{to[other].port}"
            )
            stack.callback(region.stop)
            region.start(free_port())
        good = Demo(regions["east"], regions["west"], list(to.values())).run()
    print("all agrees" if good else f"FAILED: see above; journals are in {folder}")
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


def end(*_: object) -> None:
    """The regions end with this process, undisturbed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def free_port() -> int:
    """Below those that the system gives to anybody else until it is bound."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


if __name__ == "__main__":
    sys.exit(main())
