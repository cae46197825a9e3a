"""The tests, one folder per layer: unit, journal, simulation, streams, processes, docs."""
