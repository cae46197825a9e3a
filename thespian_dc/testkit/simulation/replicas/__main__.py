"""Run seeds of replicas from the command line: one with its trace, or many with their totals
(seeds.py).

    python -m thespian_dc.testkit.simulation.replicas --seed 7
    python -m thespian_dc.testkit.simulation.replicas --seeds 0..200
    python -m thespian_dc.testkit.simulation.replicas --seeds 0..200 --bug no_wait
"""

from __future__ import annotations

import sys

from thespian_dc.testkit.simulation.replicas.bugs import BUGS, caught, may_meet
from thespian_dc.testkit.simulation.replicas.report import ReplicaTotals
from thespian_dc.testkit.simulation.replicas.run import ReplicaSimulation
from thespian_dc.testkit.simulation.seeds import Seeds

SEEDS = Seeds(
    "thespian_dc.testkit.simulation.replicas", ReplicaSimulation, ReplicaTotals, BUGS, caught,
    may_meet,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(SEEDS.main())
