"""Who owns which slice, and the one writer each has. Pure; used by hosts, projection workers and
replication."""
