"""Why a value cannot be stored: the first part at fault and its path. Runs after a refusal."""

from __future__ import annotations

from typing import Any, Final

from thespian_dc.codec.catalogue import Catalogue
from thespian_dc.codec.leaves import CONTAINER_BY_TYPE, LEAF_BY_TYPE
from thespian_dc.model.errors import UnencodableError

_DEPTH_MAX: Final = 200  # the walk recurses; what lies deeper is reported as too deep

_REMEDIES: Final = {
    "bytearray": "use bytes",
    "memoryview": "use bytes",
    "defaultdict": "use dict",
    "OrderedDict": "use dict",
    "Counter": "use dict",
    "deque": "use list",
    "float64": "use float(...)",
    "int64": "use int(...)",
}


def explain(path: str, value: Any, error: Exception, catalogue: Catalogue) -> UnencodableError:
    """The error to raise when `value` was refused with `error`. `path` names the payload."""
    found = _search(path, value, 0, catalogue)
    if found is not None:
        return found
    return UnencodableError(path, type(value).__qualname__, f"{type(error).__name__}: {error}")


def _search(path: str, value: Any, depth: int, catalogue: Catalogue) -> UnencodableError | None:
    cls = type(value)
    if depth > _DEPTH_MAX:
        return UnencodableError(path[:200], cls.__qualname__, "nested too deep, or within itself")
    if cls in {type(None), bool, int, float, bytes}:
        return None
    if cls is str or cls in LEAF_BY_TYPE:
        return _leaf_fault(path, value)
    for step, part in _parts(value, catalogue):
        found = _search(f"{path}{step}", part, depth + 1, catalogue)
        if found is not None:
            return found
    if cls in {list, dict} or cls in CONTAINER_BY_TYPE or cls in catalogue.by_type:
        return None
    remedy = _REMEDIES.get(
        cls.__name__,
        "if it is a record or an Enum, list its class beside the others (events, states)",
    )
    return UnencodableError(path, cls.__qualname__, f"no such type is registered; {remedy}")


def _leaf_fault(path: str, value: Any) -> UnencodableError | None:
    cls = type(value)
    try:
        if cls is str:
            value.encode()
        else:
            LEAF_BY_TYPE[cls].to_text(value)
    except ValueError as error:
        return UnencodableError(path, cls.__qualname__, str(error))
    return None


def _parts(value: Any, catalogue: Catalogue) -> list[tuple[str, Any]]:
    """What a value holds, each with its step of the path."""
    cls = type(value)
    if cls is dict:
        keys = [(f" key {key!r:.60}", key) for key in value]
        return keys + [(f"[{key!r:.60}]", item) for key, item in value.items()]
    if cls is list or cls is tuple:
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if cls in CONTAINER_BY_TYPE:
        return [(f" item {item!r:.60}", item) for item in value]
    if cls in catalogue.by_type:
        _, shape = catalogue.by_type[cls]
        return [(f".{name}", getattr(value, name)) for name in shape.hints if hasattr(value, name)]
    return []
