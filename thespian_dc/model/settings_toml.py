"""Settings from what a TOML file holds, once parsed. Pure: no file, no import, no environment.

The keys are the fields of model/settings.py, read from their type hints, so a field added there can
be written in TOML at once. A class or function is "module:name"; finding it is the caller's part
(`resolve`). Every error is a SettingsError that begins with the path to the value at fault:
`streams[1].transform`. Unknown keys are errors that suggest the right one.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Limits, Settings

ENVIRONMENT_PREFIX: Final = "THESPIAN_DC_"
_RESERVED: Final = frozenset({"CI", "CASSANDRA", "CACHE", "DEBUG", "TEST_SESSION"})
_SCALARS: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_TRUTH: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NEAR: Final = 0.75

Resolve = Callable[[str], Any]
"""The object that "module:name" stands for; SettingsError where there is none."""


def settings_from(
    parsed: Mapping[str, Any], resolve: Resolve, environment: Mapping[str, str] | None = None
) -> Settings:
    """The Settings that `parsed` describes.

    environment: variables that replace scalar fields: THESPIAN_DC_JOURNAL, THESPIAN_DC_HOSTS, and
    THESPIAN_DC_LIMITS_STASH_MAX for `limits.stash_max`; one that is nearly such a name is an error.
    """
    merged = _overridden(parsed, environment or {})
    found = _build(Settings, merged, "", resolve)
    assert isinstance(found, Settings)
    return found


# --- the environment ---


def variables() -> dict[str, tuple[tuple[str, ...], type]]:
    """Every variable that replaces a field: the path to it and the field's type."""
    names: dict[str, tuple[tuple[str, ...], type]] = {}
    for owner, before in ((Settings, ()), (Limits, ("limits",))):
        for name, hint in typing.get_type_hints(owner).items():
            if hint in _SCALARS:
                path = (*before, name)
                names[ENVIRONMENT_PREFIX + "_".join(path).upper()] = (path, hint)
    return names


def _overridden(parsed: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    known, merged = variables(), dict(parsed)
    for variable in sorted(environment):
        if variable in known:
            (*outer, name), hint = known[variable]
            place = merged
            for step in outer:
                inner = place.get(step, {})
                place[step] = dict(inner) if isinstance(inner, Mapping) else {}
                place = place[step]
            place[name] = _from_text(variable, environment[variable], hint)
        elif variable.startswith(ENVIRONMENT_PREFIX):
            near = difflib.get_close_matches(variable, known, 1, 0.9)
            if near and variable.removeprefix(ENVIRONMENT_PREFIX) not in _RESERVED:
                raise SettingsError(f"{variable} sets nothing; did you mean {near[0]}?")
    return merged


def _from_text(variable: str, text: str, hint: type) -> Any:
    try:
        return _TRUTH[text.lower()] if hint is bool else hint(text)
    except (ValueError, KeyError):
        raise SettingsError(f"{variable} must be {_SCALARS[hint]}, not {text!r}") from None


# --- values by type hint ---


def _build(cls: type, table: Any, path: str, resolve: Resolve) -> Any:
    """An instance of a settings class from a table."""
    if not isinstance(table, Mapping):
        raise SettingsError(f"{path} must be a table, not {_shown(table)}")
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in hints:
            raise SettingsError(f"{_join(path, key)} is unknown{_suggestion(key, hints)}")
    for field in _required(cls):
        if field not in table:
            raise SettingsError(f"{_join(path, field)} is missing")
    values = {
        key: _value(hints[key], value, _join(path, key), resolve) for key, value in table.items()
    }
    try:
        return cls(**values)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}" if path else str(error)) from error


def _value(hint: Any, value: Any, path: str, resolve: Resolve) -> Any:
    if hint in _SCALARS:
        return _scalar(hint, value, path)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type", hint), value, path, resolve)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice(hint, value, path)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _tuple(inner, value, path, resolve)
    if origin is Sequence:
        if not isinstance(value, list):
            raise SettingsError(f"{path} must be a list, not {_shown(value)}")
        return tuple(
            _value(inner[0], item, f"{path}[{index}]", resolve) for index, item in enumerate(value)
        )
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise SettingsError(f"{path} must be a table, not {_shown(value)}")
        return {key: _value(inner[1], one, _join(path, key), resolve) for key, one in value.items()}
    if origin in (typing.Union, types.UnionType):
        return _union(inner, value, path, resolve)
    if hint in (Any, type) or origin in (Callable, type):
        found = _object(value, path, resolve)
        if hint is type and not isinstance(found, type):
            raise SettingsError(f"{path} must name a class, not {_shown(found)}")
        return found
    raise AssertionError(f"{path}: TOML has no form for {hint}")


def _scalar(hint: type, value: Any, path: str) -> Any:
    if type(value) is hint:
        return value
    if hint is float and type(value) is int:
        return float(value)
    raise SettingsError(f"{path} must be {_SCALARS[hint]}, not {_shown(value)}")


def _choice(hint: type[enum.Enum], value: Any, path: str) -> enum.Enum:
    """FROM_SNAPSHOTS is written "from-snapshots"."""
    names = {one.name.lower().replace("_", "-"): one for one in hint}
    if not isinstance(value, str) or value not in names:
        raise SettingsError(f"{path} must be one of {', '.join(names)}, not {_shown(value)}")
    return names[value]


def _tuple(hints: Sequence[Any], value: Any, path: str, resolve: Resolve) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) != len(hints):
        raise SettingsError(f"{path} must be a list of {len(hints)} values, not {_shown(value)}")
    pairs = enumerate(zip(hints, value, strict=True))
    return tuple(_value(hint, item, f"{path}[{index}]", resolve) for index, (hint, item) in pairs)


def _union(hints: Sequence[Any], value: Any, path: str, resolve: Resolve) -> Any:
    """The alternative the value is for: a table for a class of settings, text for the others."""
    given = [hint for hint in hints if hint is not types.NoneType]
    classes = [hint for hint in given if dataclasses.is_dataclass(hint)]
    if isinstance(value, Mapping) and classes:
        return _build(_meant(classes, value), value, path, resolve)
    others = [hint for hint in given if hint not in classes]
    if not others:
        raise SettingsError(f"{path} must be a table, not {_shown(value)}")
    if str in others and isinstance(value, str) and ":" not in value:
        return value  # a name, where a class may stand too
    if datetime in others:
        if isinstance(value, datetime):
            return value
        others = [hint for hint in others if hint is not datetime]
    return _value(next((hint for hint in others if hint is not str), str), value, path, resolve)


def _meant(classes: Sequence[Any], table: Mapping[str, Any]) -> type:
    """The class that shares most keys with the table; the first where that leaves a choice."""
    found: type = max(classes, key=lambda cls: len(typing.get_type_hints(cls).keys() & table))
    return found


def _object(value: Any, path: str, resolve: Resolve) -> Any:
    if not isinstance(value, str) or value.count(":") != 1 or "" in value.split(":"):
        raise SettingsError(f'{path} must be "module:name", not {_shown(value)}')
    try:
        return resolve(value)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def _required(cls: Any) -> Iterable[str]:
    missing = dataclasses.MISSING
    for field in dataclasses.fields(cls):
        if field.default is missing and field.default_factory is missing:
            yield field.name


def _suggestion(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), 1, _NEAR)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
