"""The write path and a projection in one process, under a seeded scheduler with faults.

`python -m thespian_dc.testkit.simulation --seed 7` runs one seed; the same seed runs the same way
again. docs/simulation.md says what is simulated, what is checked, and how to add a bug.
"""
