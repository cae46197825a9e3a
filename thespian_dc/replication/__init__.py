"""Exchanging logs with other replicas: what is read of each, and how far."""
