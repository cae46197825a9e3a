"""Run seeds from the command line: one with its trace, or many with their totals (seeds.py).

python -m thespian_dc.testkit.simulation --seed 7
python -m thespian_dc.testkit.simulation --seeds 0..200
python -m thespian_dc.testkit.simulation --seeds 0..200 --bug epoch_not_compared
"""

from __future__ import annotations

import sys

from thespian_dc.testkit.simulation.bugs import BUGS, may_meet
from thespian_dc.testkit.simulation.report import WriterTotals
from thespian_dc.testkit.simulation.run import Simulation
from thespian_dc.testkit.simulation.seeds import Seeds

SEEDS = Seeds("thespian_dc.testkit.simulation", Simulation, WriterTotals, BUGS, may_meet=may_meet)

if __name__ == "__main__":
    sys.exit(SEEDS.main())
