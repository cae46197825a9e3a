"""Servers, kits and probes for tests. May import every room; no room imports it."""
