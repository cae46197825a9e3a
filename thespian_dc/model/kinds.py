"""What kind of values settings hold: said by the field's name where somebody wrote another, in
place of what the code that first uses it would say. Pure."""

from __future__ import annotations

from typing import Any

from thespian_dc.model.errors import SettingsError

_SAID = {
    int: "a whole number", float: "a number", str: "a string", bool: "True or False",
    type: "a class", type(None): "None",
}  # fmt: skip


def check_kinds(of: object, **kinds: Any) -> None:
    """SettingsError for a field that is of none of the types given for it; a bool is no number."""
    for name, kind in kinds.items():
        wanted = kind if isinstance(kind, tuple) else (kind,)
        _check(name, getattr(of, name), wanted)


def check_lists(of: object, **members: Any) -> None:
    """SettingsError for a field that is no list (or tuple) of these: one alone, say."""
    for name, kind in members.items():
        value = getattr(of, name)
        said = _said(kind)
        if not isinstance(value, list | tuple):
            raise SettingsError(f"{name} must be a list, each of it {said}, not {_shown(value)}")
        for index, one in enumerate(value):
            _check(f"{name}[{index}]", one, (kind,))


def check_numbers(of: object, kind: type, **least: float) -> None:
    """SettingsError for a field that is no number of this kind, or below its least one."""
    for name, lowest in least.items():
        value = getattr(of, name)
        _check(name, value, (int, float) if kind is float else (int,))
        if not value >= lowest:
            raise SettingsError(f"{name} must be at least {lowest:g}, not {value!r}")


def _check(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        said = " or ".join(dict.fromkeys(map(_said, kinds)))
        raise SettingsError(f"{name} must be {said}, not {_shown(value)}")


def _said(kind: type) -> str:
    return _SAID.get(kind, kind.__name__)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
