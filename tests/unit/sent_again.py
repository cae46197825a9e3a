"""Hosts that remember few command ids, and commands as clients send them again."""

from __future__ import annotations

from typing import Any

from tests.unit.host_core import SECOND, Host
from thespian_dc.entity.protocol import Command
from thespian_dc.model.settings import Limits
from thespian_dc.testkit.entities import Account, Deposit

KNOWN = 32
LIMITS = Limits(known_commands=KNOWN)


def owner(journal: Any = None, member_id: str = "m1", start_us: int = SECOND) -> Host:
    return Host(
        Account, journal=journal, member_id=member_id, start_us=start_us, limits=LIMITS
    ).own()


def successor(of: Host) -> Host:
    return owner(of.journal, "m2", of.now_us + SECOND)


def deposits(host: Host, ids: list[str], epoch: int, since: int = 0) -> list[Command]:
    """As they come from a client, one of each id."""
    return [
        host.command(Account, "a", Deposit(1), id_)._replace(epoch=epoch, since=since)
        for id_ in ids
    ]


def records(host: Host) -> list[str]:
    """The command ids in the log, in order."""
    found = host.journal.read_entity(host.keys[0], "a")
    return [one.record.command_id for one in found]
