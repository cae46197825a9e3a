"""What the processes of a node send each other is printed by Thespian, and must print cheaply."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from thespian_dc.entity import protocol as of_entities
from thespian_dc.shell import protocol as of_nodes
from thespian_dc.shell.protocol import LeafSpec, NodeMessage, StartLeaf
from thespian_dc.stream import protocol as of_streams

LARGE = "x" * 10_000
NAMES = ("name", "service", "node_id")
MESSAGES = [
    kind
    for module in (of_nodes, of_entities, of_streams)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__ == module.__name__ and kind is not NodeMessage
    if issubclass(kind, NodeMessage)
]


def _filled(kind: type[Any]) -> Any:
    """An instance whose fields are large, but for the names that a node has given."""
    if kind is StartLeaf:
        return StartLeaf(LeafSpec("a name", LARGE, LARGE, LARGE))
    fields = dataclasses.fields(kind)
    return kind(*["a name" if one.name in NAMES else LARGE for one in fields])


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_message_prints_as_its_class_and_a_name(kind: type[Any]) -> None:
    """Nothing of what it carries is printed: a frame is up to a megabyte."""
    message = _filled(kind)
    assert str(message) in {kind.__name__, f"{kind.__name__} a name"}
    assert pickle.loads(pickle.dumps(message)) == message


def test_frames_and_leaf_settings_are_among_them() -> None:
    """A list of no messages would print cheaply too."""
    names = {kind.__name__ for kind in MESSAGES}
    assert {"CommandFrame", "ReplyFrame", "StartProducer", "Report", "StartLeaf"} <= names
