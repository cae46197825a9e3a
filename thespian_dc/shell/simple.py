"""What simpleSystemBase keeps to itself: its actors as objects, and running them a little."""

from __future__ import annotations

from typing import Any

from thespian.actors import ActorExitRequest


def instance_of(system: Any, name: str) -> Any:
    """The actor object with this global name, or None."""
    base = system._systemBase
    address = base._globalNames.get(name)
    reference = base.actorRegistry.get(address.actorAddressString) if address else None
    return reference.instance if reference else None


def create(system: Any, actor: type, name: str) -> Any:
    """Create an actor under a global name and return the object."""
    system.createActor(actor, globalName=name)
    return instance_of(system, name)


def run_sends(system: Any, for_s: float) -> bool:
    """Deliver what is under way, and what wakes up within for_s; True where anything was or is."""
    base = system._systemBase
    had = bool(base._pendingSends)
    base._runSends(timeout=for_s)
    return had or bool(base._pendingSends)


def end(system: Any, name: str) -> None:
    """End the actor with this global name, if there is one."""
    address = system._systemBase._globalNames.get(name)
    if address is not None:
        system.tell(address, ActorExitRequest())
