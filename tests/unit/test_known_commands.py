"""The table of ids that an entity remembers."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.entity.instance import Instance

LIMIT = 6
IDS = st.sampled_from([f"c-{n}" for n in range(40)])


@given(st.lists(st.tuples(IDS, st.sampled_from(["persisted", "asks", "answered"])), max_size=200))
def test_the_last_ids_are_remembered_and_those_that_wait(steps: list[tuple[str, str]]) -> None:
    """Whatever comes again and whoever waits meanwhile; and not many more. A table that a state
    row holds loses nothing of what it had."""
    instance = Instance(cast("Any", None), "e-1", cast("Any", None))
    persisted: dict[str, int] = {}
    held: list[tuple[Any, dict[str, Any]]] = []
    most_asking = 0
    for seq_nr, (id_, what) in enumerate(steps, 1):
        if what == "persisted":
            if instance.known is not None:
                held.append((instance.known, dict(instance.known)))
            instance.remember(id_, seq_nr, None, LIMIT)
            persisted.pop(id_, None)
            persisted[id_] = seq_nr
        elif what == "asks":
            instance.asks(id_, 1)
        elif id_ in (instance.asking or ()):
            instance.asks(id_, -1)
        known = {id_: seq_nr for id_, (seq_nr, _) in (instance.known or {}).items()}
        assert known.items() <= persisted.items()
        assert list(persisted)[-LIMIT:] == list(known)[-LIMIT:]
        most_asking = max(most_asking, len(instance.asking or ()))
        assert len(known) <= LIMIT + LIMIT // 2 + 1 + most_asking
    for table, was in held:
        assert was.items() <= dict(table).items()
