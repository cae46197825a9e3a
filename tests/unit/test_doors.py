"""Doors whose names are imported late: all of them are there, and taking one imports little."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import thespian_dc
from thespian_dc.entity import api

DOORS = [(thespian_dc, name) for name in thespian_dc.__all__] + [
    (api, name) for name in api.__all__
]


@pytest.mark.parametrize(("door", "name"), DOORS, ids=lambda part: getattr(part, "__name__", part))
def test_every_name_of_a_door_is_there(door: object, name: str) -> None:
    """Names are text until they are used: a wrong one would be found by a user."""
    assert getattr(door, name) is not None


@pytest.mark.parametrize("door", [thespian_dc, api], ids=lambda door: door.__name__)
def test_another_name_is_missing_as_in_any_module(door: object) -> None:
    """`from thespian_dc import Typo` says what every module says."""
    with pytest.raises(AttributeError, match="has no attribute 'Typo'"):
        _ = door.Typo  # type: ignore[attr-defined]


def test_a_client_imports_no_host_and_no_journal() -> None:
    """It may run in any process: what it takes through the entities' door is the router only."""
    code = "import json, sys, thespian_dc.client.api; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = json.loads(done.stdout)
    assert {"thespian_dc.entity.api", "thespian_dc.entity.router_core"} <= set(loaded)
    heavy = (
        "thespian_dc.journal",
        "thespian_dc.entity.core",
        "thespian_dc.codec",
        "grpc",
        "msgpack",
    )
    assert not [name for name in loaded if name.startswith(heavy)]
