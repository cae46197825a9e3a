"""The journal in Apache Cassandra 4.1 and 5.0. `open.py` is the door."""
