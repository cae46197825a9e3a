"""ProbeActor: tries in the actor system, before anything is created there, what a node will need.

It is created by the Admin, as hosts are: what it cannot import or open, they could not. Messages
are plain builtins, so that they arrive whatever is missing. It answers once and ends.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from types import CodeType, FunctionType
from typing import Any

from thespian.actors import ActorExitRequest, ActorSystemMessage

from thespian_dc.journal.api import open_journal
from thespian_dc.shell.typed_actor import TypedActor

PROBE_ACTOR = "thespian_dc.entity.probe_actor.ProbeActor"


class ProbeActor(TypedActor):
    """("probe", names with path and fingerprint, journal URL, slices by type)
    -> ("probed", [(name, remedy)], error of the journal or None)."""

    def receiveMessage(self, msg: Any, sender: Any) -> None:
        if isinstance(msg, ActorSystemMessage) or not isinstance(msg, tuple):
            return
        _, names, journal, slices = msg
        missing = [
            (name, remedy)
            for name, path, print_ in names
            if (remedy := _remedy(name, path, print_))
        ]
        self.send(sender, ("probed", missing, None if missing else _try_journal(journal, slices)))
        self.send(self.myAddress, ActorExitRequest())


def locate(thing: Any) -> tuple[str, str, str]:
    """("module:qualname", file, fingerprint) of a class or function."""
    module = importlib.import_module(thing.__module__)
    path = getattr(module, "__file__", "") or ""
    return f"{thing.__module__}:{thing.__qualname__}", path, fingerprint(thing)


def fingerprint(thing: Any) -> str:
    """Of the code of a class's methods, or of a function: equal where both were loaded alike."""
    parts = {"": thing} if isinstance(thing, FunctionType) else dict(vars(thing))
    digest = hashlib.sha256()
    for name in sorted(parts):
        function = getattr(parts[name], "__func__", parts[name])
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            digest.update(repr((name, _plain(code))).encode())
    return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Code as data that prints the same in every process."""
    if isinstance(value, CodeType):
        return (value.co_code, value.co_names, [_plain(one) for one in value.co_consts])
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return repr(value)


def _remedy(name: str, path: str, print_: str) -> str:
    """What to do so that the actor system has the same thing; "" where it has."""
    module_name, _, qualname = name.partition(":")
    try:
        thing: Any = importlib.import_module(module_name)
        where = getattr(thing, "__file__", "") or ""
        for part in qualname.split("."):
            thing = getattr(thing, part)
    except Exception as missing:  # noqa: BLE001  a module may raise anything when imported
        return (
            f"it cannot import it ({type(missing).__name__}: {missing}); its Admin was started in "
            f"{os.getcwd()}: install the module or put its folder on PYTHONPATH before the first "
            "ActorSystem(...), or shut that actor system down and start it from here"
        )
    if where != path:
        return f"it has another one, from {where}: start the actor system from the same folder"
    if fingerprint(thing) != print_:
        return (
            "it has older code under this name: its Admin was started before the file was changed; "
            "shut the actor system down and start it again"
        )
    return ""


def _try_journal(url: str, slices: dict[str, int]) -> Exception | None:
    if not url:
        return None
    try:
        journal = open_journal(url)
        try:
            for entity_type, wanted in slices.items():
                journal.slices(entity_type, wanted)
        finally:
            journal.close()
    except Exception as failed:  # noqa: BLE001  it is the answer
        return failed
    return None
