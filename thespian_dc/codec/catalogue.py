"""The compiled registry as both dialects see it: type to (tag, shape), tag to builder. Read-only.

A tag is "name/version". Fields under an older tag are brought up to the current version first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from thespian_dc.codec.declare import Fields, Registered, Upcaster, ways_up
from thespian_dc.codec.shapes import Shape
from thespian_dc.model.errors import (
    CodecError,
    CorruptPayloadError,
    RegistrationError,
    UnknownManifestError,
)

Build = Callable[[Any], Any]

_LISTED_MAX: Final = 30  # names in an error message


@dataclass(frozen=True, slots=True)
class PayloadType:
    """A registered class: declaration, shape, and the upcasters of each readable version."""

    declared: Registered
    shape: Shape
    ways: Mapping[int, tuple[Upcaster, ...]]

    @property
    def tag(self) -> str:
        """What new payloads of this class are tagged with."""
        return f"{self.declared.stored_name}/{self.declared.version}"

    def readable_tags(self) -> Iterable[tuple[str, tuple[Upcaster, ...]]]:
        """Every tag that stored payloads of this class may carry, with its way up."""
        for name in (self.declared.stored_name, *self.declared.aliases):
            for version, way in self.ways.items():
                yield f"{name}/{version}", way


class Catalogue:
    """All registered types, by class and by tag."""

    __slots__ = ("builders", "by_type", "types", "versions")

    def __init__(
        self, declared: Iterable[tuple[Registered, Shape]], upcasters: Iterable[Upcaster]
    ) -> None:
        """Raises RegistrationError for a name used twice and for upcasters that do not fit."""
        steps: dict[str, list[Upcaster]] = {}
        for step in upcasters:
            steps.setdefault(step.name, []).append(step)
        self.types = tuple(
            _payload_type(item, shape, steps.pop(item.stored_name, [])) for item, shape in declared
        )
        self.versions = _versions_by_name(self.types)
        _refuse_foreign(steps, tuple(self.versions))
        self.by_type = {kind.shape.cls: (kind.tag, kind.shape) for kind in self.types}
        self.builders = {
            tag: _builder(tag, kind.shape, way)
            for kind in self.types
            for tag, way in kind.readable_tags()
        }

    @property
    def known(self) -> tuple[str, ...]:
        """The tags of current versions, for messages."""
        tags = sorted(kind.tag for kind in self.types)
        more = len(tags) - _LISTED_MAX
        return (*tags[:_LISTED_MAX], f"and {more} more") if more > 0 else tuple(tags)

    def unknown(self, manifest: str) -> UnknownManifestError:
        """The error for stored bytes under a manifest nobody here can read."""
        name, _, rest = manifest.partition("/")
        version = rest.partition("+")[0]
        current = self.versions.get(name)
        if current is None:
            remedy = "register the class that has this name, or list the name in a class's aliases"
        elif version.isdecimal() and int(version) > current:
            remedy = (
                f"it was written by newer code, this process knows {name} up to {current}; upgrade"
            )
        elif version.isdecimal():
            remedy = (
                f"lower `oldest` of {name} and add the upcasters from there, or check the encoding"
            )
        else:
            remedy = (
                "it is not of the form name/version, name/version+json or name/version+protobuf"
            )
        return UnknownManifestError(manifest, self.known, remedy)


def _payload_type(declared: Registered, shape: Shape, steps: list[Upcaster]) -> PayloadType:
    declared.check()
    if steps and not shape.is_record:
        raise RegistrationError(
            f"Upcaster({declared.stored_name!r})",
            "only dataclasses and named tuples have stored fields",
        )
    if declared.version > 1 and not shape.is_record:
        # Enums, messages and plain values have no fields to bring up: each version reads as the
        # current one.
        ways = dict.fromkeys(range(declared.oldest, declared.version + 1), ())
        return PayloadType(declared, shape, ways)
    return PayloadType(declared, shape, ways_up(declared, steps))


def _versions_by_name(types: tuple[PayloadType, ...]) -> dict[str, int]:
    owners: dict[str, type] = {}
    versions: dict[str, int] = {}
    for kind in types:
        for name in (kind.declared.stored_name, *kind.declared.aliases):
            if name in owners:
                raise RegistrationError(
                    f"{kind.shape.cls.__module__}.{kind.shape.cls.__qualname__}",
                    f"the name {name!r} is taken by {owners[name].__module__}."
                    f"{owners[name].__qualname__}; rename one with Registered(cls, name=...)",
                )
            owners[name] = kind.shape.cls
            versions[name] = kind.declared.version
    return versions


def _refuse_foreign(steps: Mapping[str, list[Upcaster]], names: tuple[str, ...]) -> None:
    for name in steps:
        raise RegistrationError(
            f"Upcaster({name!r})",
            f"no registered class has this name now; names: {', '.join(names) or 'none'}",
        )


def _builder(tag: str, shape: Shape, way: tuple[Upcaster, ...]) -> Build:
    construct = shape.build

    def build(stored: Any) -> Any:
        try:
            return construct(_brought_up(stored, way) if way else stored)
        except (CodecError, MemoryError):
            raise
        except Exception as error:
            raise CorruptPayloadError(tag, f"{type(error).__name__}: {error}") from error

    return build


def _brought_up(stored: Any, way: tuple[Upcaster, ...]) -> Fields:
    if type(stored) is not dict:
        raise ValueError(f"a {type(stored).__name__} is stored, not fields")
    fields: Fields = stored
    for step in way:
        where = f"its Upcaster {step.from_version} -> {step.to_version}"
        try:
            fields = step.fn(fields)
        except Exception as error:
            raise ValueError(f"{where} raised {type(error).__name__}: {error}") from error
        if type(fields) is not dict:
            raise ValueError(f"{where} returned a {type(fields).__name__}, not a dict of fields")
    return fields
