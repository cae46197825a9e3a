"""What a user declares of payload types: names, versions, encodings, ways up from old versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from thespian_dc.model.errors import RegistrationError

Encoding = Literal["msgpack", "json", "protobuf"]
Fields = dict[str, Any]

# "/" and "+" divide a manifest; these limits keep a nested tag within one length byte.
VERSION_MAX: Final = 9_999
_NAME: Final = re.compile(r"[A-Za-z_][\w.\-]{0,199}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Registered:
    """A payload type with settings of its own; a bare class stands for `Registered(cls)`.

    name: what stored records say; None: the class's name. Once records exist it must not change,
        or the former name goes to `aliases`.
    version: 1 to 9,999; raise it together with an Upcaster when the meaning of fields changes.
    oldest: the oldest version that journals may still hold; from here every version needs a way
        up to `version`.
    encoding: how new payloads are written; None: protobuf for protobuf messages, else msgpack.
        What was written as msgpack or json stays readable after a change between the two.
    """

    cls: type
    name: str | None = None
    version: int = 1
    encoding: Encoding | None = None
    aliases: Sequence[str] = ()
    oldest: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.aliases, str):
            raise RegistrationError(
                f"{self.aliases!r}", "aliases is a list of names, also where there is one"
            )
        object.__setattr__(self, "aliases", tuple(self.aliases))

    @property
    def stored_name(self) -> str:
        """The name that new records carry."""
        return self.cls.__name__ if self.name is None else self.name

    def check(self) -> None:
        """Raise RegistrationError where a setting is out of its range."""
        for name in (self.stored_name, *self.aliases):
            if not _NAME.fullmatch(name):
                raise RegistrationError(
                    f"{self.cls.__qualname__}",
                    f"the name {name!r} must be 1 to 200 ASCII letters, digits, '_', '.', '-' "
                    "and start with a letter or '_'",
                )
        if not 1 <= self.oldest <= self.version <= VERSION_MAX:
            raise RegistrationError(
                self.stored_name,
                f"oldest={self.oldest}, version={self.version}: 1 <= oldest <= version <= "
                f"{VERSION_MAX} must hold",
            )


@dataclass(frozen=True, slots=True)
class Upcaster:
    """Turn the stored fields of one version of a type into those of a later one.

    name: the type's present stored name. fn gets the fields as a fresh dict it may change, with
    values already decoded (nested objects are objects, brought up by their own upcasters), and
    returns a dict.
    """

    name: str
    from_version: int
    to_version: int
    fn: Callable[[Fields], Fields]


def ways_up(
    declared: Registered, upcasters: Iterable[Upcaster]
) -> Mapping[int, tuple[Upcaster, ...]]:
    """For each version from `oldest` to the current one: the upcasters to apply, in order.

    Raises RegistrationError for a step that is doubled, does not go up, passes the current version
    or is missing.
    """
    steps: dict[int, Upcaster] = {}
    for step in upcasters:
        where = f"Upcaster({step.name!r}, {step.from_version} -> {step.to_version})"
        if not 1 <= step.from_version < step.to_version <= declared.version:
            raise RegistrationError(
                where, f"it must go up and not past the current version {declared.version}"
            )
        if step.from_version in steps:
            raise RegistrationError(where, f"there is another from version {step.from_version}")
        steps[step.from_version] = step
    ways: dict[int, tuple[Upcaster, ...]] = {declared.version: ()}
    for version in range(declared.version - 1, declared.oldest - 1, -1):
        if version not in steps:
            raise RegistrationError(
                f"{declared.stored_name} version {declared.version}",
                f"nothing leads up from version {version}: add an Upcaster from it, or set oldest="
                f"{version + 1} if no journal holds it any more",
            )
        # Steps only go up, so the way from a step's target is known already.
        ways[version] = (steps[version], *ways[steps[version].to_version])
    return ways
