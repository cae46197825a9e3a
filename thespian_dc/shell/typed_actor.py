"""Thespian's Actor as the type checker should see it: Thespian itself carries no annotations."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from thespian.actors import Actor

if TYPE_CHECKING:

    class TypedActor(Actor):
        """What our shells use of an actor, annotated. At run time this is thespian.actors.Actor."""

        _myRef: Any  # noqa: N815  its name

        def __init__(self) -> None: ...

        @property
        def myAddress(self) -> Any: ...

        def send(self, targetAddr: Any, msg: Any) -> None: ...

        def wakeupAfter(self, timePeriod: timedelta, payload: Any = None) -> None: ...

        def createActor(
            self,
            actorClass: Any,
            targetActorRequirements: Any = None,
            globalName: str | None = None,
            sourceHash: Any = None,
        ) -> Any: ...

else:
    TypedActor = Actor
