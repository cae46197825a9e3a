"""What a seeded bug is: a context manager inside which something is wrong, and that yields the
simulation class to run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from thespian_dc.testkit.simulation.run import Simulation

Bug = Callable[[], contextlib.AbstractContextManager[type[Simulation]]]


@contextlib.contextmanager
def patched(owner: type, name: str, wrong: Any) -> Iterator[type[Simulation]]:
    """A method of a core does something else."""
    with patch.object(owner, name, wrong):
        yield Simulation


def replaced(**classes: type) -> contextlib.AbstractContextManager[type[Simulation]]:
    """The simulation runs with other classes."""
    return contextlib.nullcontext(type("Simulation", (Simulation,), classes))
