"""The journal in one SQLite file. `open.py` is the door; docs/journal.md describes the tables."""
