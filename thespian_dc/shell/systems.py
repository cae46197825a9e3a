"""Which actor system an ActorSystem object stands for, and whether a node can run in it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from thespian.actors import ActorSystemException

from thespian_dc.model.errors import NotSupportedError
from thespian_dc.model.node_errors import NodeError, NotImportableError, WrongActorSystemError

TCP, SIMPLE = "multiprocTCPBase", "simpleSystemBase"
_REFUSED = {
    "multiprocUDPBase": "it loses messages without a word and cannot carry more than 64 KiB",
    "multiprocQueueBase": "it may deadlock, and gives threads no way to reach their actor",
}


def kind_of(system: Any) -> str:
    """TCP or SIMPLE. NotSupportedError for other bases; NodeError for a system that was shut
    down, and for what is none."""
    base = getattr(system, "_systemBase", None)
    if not hasattr(system, "_systemBase"):
        raise NodeError(f"an ActorSystem(...) of thespian.actors is needed, not {system!r}")
    if base is None:
        raise NodeError("this ActorSystem was shut down; create another ActorSystem(...)")
    name = type(base).__module__.rpartition(".")[2]
    if name not in (TCP, SIMPLE):
        reason = _REFUSED.get(name, "it is not known")
        raise NotSupportedError(f"a node on {name}", f"{reason}; use {TCP}, or {SIMPLE} in tests")
    return name


def check_asked(system: Any, running: dict[str, Any]) -> None:
    """WrongActorSystemError where the object was asked for with other capabilities than the system
    that runs has. What Thespian itself puts there is not compared."""
    for name, asked in system.capabilities.items():
        own = name.startswith("Thespian") or name == "Python Version"
        if not own and name in running and running[name] != asked:
            raise WrongActorSystemError(name, repr(asked), repr(running[name]))
    asked_port = system.capabilities.get("Admin Port")
    admin = getattr(system._systemBase, "adminAddr", None)
    address = getattr(admin, "addressDetails", None)
    if asked_port is not None and address is not None and address.sockname[1] != asked_port:
        what = "Admin Port"
        raise WrongActorSystemError(what, str(asked_port), str(address.sockname[1]))


def create_probe(system: Any, actor: str) -> Any:
    """Create an actor that only looks around; NotImportableError where the system lacks this
    package."""
    try:
        return system.createActor(actor, globalName=f"thespian_dc:probe:{uuid4().hex}")
    except (ActorSystemException, ImportError) as failed:
        raise NotImportableError(
            "thespian_dc",
            __file__,
            f"its Admin cannot import this package ({failed}); install it where the Admin runs, or "
            "shut that actor system down and start it from here",
        ) from failed
