"""A region: an actor system of its own with a node and a journal, which can be killed and come
back."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from account import Account, Show, Standing
from thespian.actors import ActorSystem

from thespian_dc import Client, Node, Peer, Replication, Settings
from thespian_dc.journal.api import open_journal
from thespian_dc.model.ids import SliceKey


class Region:
    """link: where it reaches the other one."""

    def __init__(self, name: str, folder: Path, listen: str, peer: str, link: str) -> None:
        self.name, self.log = name, folder / "log"
        self.journal = f"sqlite:///{folder / name}.db"
        self.settings = Settings(
            service="bank", journal=self.journal, entities=[Account], listen=listen,
            replication=[Replication(Account, name, [Peer(peer, link)], active="east",
                                     queries=[Show])],
        )  # fmt: skip
        self.ends = ExitStack()

    def start(self, admin_port: int) -> None:
        system = ActorSystem(
            "multiprocTCPBase", {"Admin Port": admin_port}, logging_to(self.log),
            transientUnique=True,
        )  # fmt: skip
        self.ends.callback(system.shutdown)
        self.node = Node.start(system, self.settings)
        self.ends.callback(self.node.stop)
        self.client = Client.connect(system, service="bank", timeout_s=30)
        self.ends.callback(self.client.close)

    def stop(self) -> None:
        self.ends.close()

    def kill(self) -> None:
        """SIGKILL to all of its processes, as if its machine lost power. An actor system is a
        process group."""
        any_of_them = self.node.status()["hosts"][0]["pid"]
        os.killpg(os.getpgid(any_of_them), signal.SIGKILL)
        self.client.close()
        self.ends.pop_all()  # nothing is left to be ended

    def ask(self, account_id: str, message: Any) -> Any:
        return self.client.entity("account", account_id).ask(message, timeout_s=10)

    def standings(self, account_ids: list[str]) -> list[Standing]:
        return list(self.client.ask_many([("account", one, Show()) for one in account_ids]))

    def events(self) -> int:
        """In its journal, its own and the other's; whether it runs or not."""
        journal = open_journal(self.journal)
        try:
            slices = journal.slice_counts()["account"]
            return sum(journal.find_head(SliceKey("account", n)).head for n in range(slices))
        finally:
            journal.close()


def logging_to(path: Path) -> dict[str, Any]:
    """What the actors log goes there."""
    handler = {"class": "logging.FileHandler", "filename": str(path)}
    root = {"handlers": ["file"], "level": "INFO"}
    return {"version": 1, "handlers": {"file": handler}, "root": root}
