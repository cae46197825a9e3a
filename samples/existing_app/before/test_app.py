"""The program's own tests; they pass unchanged on both versions."""

from __future__ import annotations

import socket

import app
import pytest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    system, *rest = app.start(free_port())
    yield system, *rest
    system.shutdown()


def test_an_order_is_priced(desk):
    assert app.take(*desk, "ann:apple:3").startswith("ann pays 1.20")


def test_orders_follow_each_other(desk):
    assert app.take(*desk, "ann:plum:1").startswith("ann pays 0.25")
    assert app.take(*desk, "bob:pear:2").startswith("bob pays 1.10")
