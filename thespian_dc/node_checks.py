"""What is checked before a node creates anything: settings by themselves, and in the system."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from thespian_dc.codec.api import Registered
from thespian_dc.entity.api import EntityType
from thespian_dc.entity.probe_actor import PROBE_ACTOR, locate
from thespian_dc.model.delivery_settings import ToActor
from thespian_dc.model.errors import NotSupportedError, SettingsError
from thespian_dc.model.node_errors import NodeStartError, NotImportableError
from thespian_dc.model.setting_checks import OF_ITS_OWN
from thespian_dc.model.settings import Local, Projection, Settings, Stream
from thespian_dc.model.transformation import importables
from thespian_dc.projection.api import check_handler
from thespian_dc.shell.systems import create_probe
from thespian_dc.shell.talk import Talk

SQLITE = "sqlite:///"
PROBE_WITHIN_S = 60.0


def check_settings(settings: Settings, simple: bool) -> Settings:
    """The settings with absolute paths, as the actor system's processes need them: they run in
    another folder. SettingsError and its kin where something cannot be."""
    if not isinstance(settings, Settings):
        kind = type(settings).__name__
        raise SettingsError(f"Node.start(system, settings) takes Settings(...), not a {kind}")
    replicated = {one.entity_type: one for one in settings.replication}
    names = []
    for one in settings.entities:
        setting = replicated.get(getattr(one, "entity_type", ""))
        compiled = EntityType.of(one, settings.slices, not simple, setting)
        names.append(compiled.name)
        if compiled.replicated and setting is None:
            raise SettingsError(
                f"{one.__qualname__} is a ReplicatedEventSourcedActor, and replication names no "
                f"{compiled.name!r}: add Replication({one.__qualname__}, replica_id=…)"
            )
    if len(set(names)) != len(names):
        raise SettingsError(f"an entity type stands twice: {', '.join(sorted(names))}")
    if not simple and settings.journal.startswith("memory:") and settings.entities:
        raise SettingsError(
            "journal 'memory:' lives in one process, this node has several; use sqlite:///path"
        )
    if simple:
        _check_simple(settings)
    for projection in settings.projections:
        _check_positions(projection, settings.journal)
        check_handler(projection)
    return dataclasses.replace(
        settings,
        journal=absolute(settings.journal),
        projections=tuple(
            dataclasses.replace(
                one,
                positions=absolute(one.positions),
                source=dataclasses.replace(one.source, journal=absolute(one.source.journal))
                if isinstance(one.source, Local)
                else one.source,
            )
            for one in settings.projections
        ),
        entities=tuple(settings.entities),
        streams=tuple(settings.streams),
        pushes=tuple(settings.pushes),
        destinations=tuple(settings.destinations),
        replication=tuple(settings.replication),
    )


def _check_positions(projection: Projection, journal: str) -> None:
    """SettingsError where they are to be kept in the file of a journal, of the node or the
    source."""
    journals = [journal, projection.source.journal if isinstance(projection.source, Local) else ""]
    files = [unquote(one.partition("?")[0]) for one in journals if one.startswith(SQLITE)]
    kept = projection.positions
    if kept.startswith(SQLITE) and _path(kept) in map(_path, files):
        raise SettingsError(
            f"projection {projection.name}: positions {kept!r} is a journal's file; {OF_ITS_OWN}"
        )


def _path(url: str) -> Path:
    return Path(url.removeprefix(SQLITE)).resolve()


def entity_types(settings: Settings) -> list[str]:
    entities: list[Any] = list(settings.entities)
    return [one.entity_type for one in entities]


def _handlers(settings: Settings) -> list[Any]:
    """Classes and functions that a consumer's process imports; of actors those given as classes."""
    found = [one.handler for one in settings.projections]
    things = [one.actor if isinstance(one, ToActor) else one for one in found]
    return [one for one in things if one and not isinstance(one, str)]


def _streams(settings: Settings) -> list[Stream]:
    pushed = [one.stream for one in settings.pushes if isinstance(one.stream, Stream)]
    return [*settings.streams, *pushed]


def imported(settings: Settings) -> list[Any]:
    """All classes and functions that the node's processes import: each once, in the order of the
    settings. Without one of them a process could not even read what it is to do."""
    found: list[Any] = [*settings.entities, *_handlers(settings), settings.access.interceptor]
    for stream in _streams(settings):
        found += [*importables(stream.transform), stream.filter, stream.from_snapshot]
        found += _classes(stream.events)
    for one in settings.projections:
        found += [one.hooks, one.start, *_classes(one.events)]
    for taken in settings.destinations:
        found += [taken.transform, *_classes(taken.events)]
    return list(dict.fromkeys(one for one in found if callable(one)))  # a filter may be criteria


def _classes(events: Iterable[Any]) -> list[Any]:
    return [one.cls if isinstance(one, Registered) else one for one in events]


def differences(running: Settings, wanted: Settings) -> tuple[str, ...]:
    """The fields that differ; a list is as good as a tuple."""
    names = [field.name for field in dataclasses.fields(Settings)]
    return tuple(n for n in names if _plain(getattr(running, n)) != _plain(getattr(wanted, n)))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def absolute(url: str) -> str:
    """A relative sqlite URL made absolute by this process's folder; any other as it is."""
    if not url.startswith(SQLITE) or url.startswith(f"{SQLITE}/"):
        return url
    path, question, options = url[len(SQLITE) :].partition("?")
    return f"{SQLITE}{Path(path).absolute()}{question}{options}"


def check_in_system(system: Any, talk: Talk, settings: Settings) -> None:
    """NotImportableError where the actor system cannot run a class of the settings, the journal's
    error where it cannot be opened there, or holds other slice counts."""
    located = []
    for thing in imported(settings):
        name, path, print_ = locate(thing)
        if thing.__module__ == "__main__":
            raise NotImportableError(
                name,
                path,
                "__main__ is another program in another process; move it to a module of its own",
            )
        located.append((name, path, print_))
    probe = create_probe(system, PROBE_ACTOR)
    slices = dict.fromkeys(entity_types(settings), settings.slices)
    writes = settings.entities or _streams(settings) or settings.destinations
    journal = settings.journal if writes else ""
    question = ("probe", located, journal, slices)
    answer: Any = talk.ask(probe, question, tuple, PROBE_WITHIN_S)
    if answer is None:
        raise NodeStartError(
            settings.service,
            f"a probe in the actor system did not answer within {PROBE_WITHIN_S:.0f} s; if it "
            "migrates a large journal it goes on: start again later, or let `thespian-dc schema "
            "apply --journal URL` do that beforehand",
        )
    _, missing, error = answer
    for name, remedy in missing:
        raise NotImportableError(name, {n: p for n, p, _ in located}[name], remedy)
    if error is not None:
        raise error


def _check_simple(settings: Settings) -> None:
    if settings.streams or settings.pushes or settings.destinations:
        raise NotSupportedError(
            "a stream on simpleSystemBase", "it serves other processes, and nothing runs here "
            "between two calls; test it on multiprocTCPBase"
        )  # fmt: skip
    for replication in settings.replication:
        raise NotSupportedError(
            f"replication of {replication.entity_type!r} on simpleSystemBase",
            "other nodes read it, and nothing runs here between two calls; test it on "
            "multiprocTCPBase",
        )
    for one in settings.projections:
        if not isinstance(one.source, Local):
            raise NotSupportedError(
                f"projection {one.name!r} of a remote stream on simpleSystemBase",
                "test its handler over Local(...), or on multiprocTCPBase",
            )
