"""Benchmarks: each figure beside the one asked for, against its baseline, interleaved in one
run."""
