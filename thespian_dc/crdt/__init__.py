"""Replicated data types: values that converge at every replica, whatever happens concurrently."""
