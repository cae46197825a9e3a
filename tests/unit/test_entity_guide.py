"""The examples of docs/entities.md are what they say, and it names nothing that is not public."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import thespian_dc
from thespian_dc import Registered
from thespian_dc.codec.registry import Registry

GUIDE = Path(__file__).parents[2] / "docs" / "entities.md"


def test_first_example_passes_its_own_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guide whose code does not run teaches nothing."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    example = next(block for block in blocks if "class Cart" in block)
    trial = next(block for block in blocks if "def test_adding" in block)
    (tmp_path / "guide_example.py").write_text(f"{example}\n{trial}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("guide_example").test_adding()


PAYLOADS = """
from dataclasses import dataclass
from thespian_dc import EventSourcedActor, Registered, Upcaster

@dataclass(frozen=True)
class ItemAdded:
    sku: str
    currency: str

@dataclass(frozen=True)
class ItemRemoved:
    sku: str

@dataclass(frozen=True)
class CheckedOut:
    total: int

def add_currency(fields):
    return {**fields, "currency": "EUR"}
"""


def test_what_it_says_of_payloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a class of before had stored is read by those that the example registers."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    example = next(block for block in blocks if "upcasters" in block)
    (tmp_path / "guide_payloads.py").write_text(f"{PAYLOADS}\n{example}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    guide = import_module("guide_payloads")
    now = Registry(guide.Cart.events, upcasters=guide.Cart.upcasters)
    before = Registry([Registered(guide.ItemRemoved, name="ItemTakenOut")])
    assert now.decode(*before.encode(guide.ItemRemoved("a"))) == guide.ItemRemoved("a")
    first = Registry([Registered(guide.ItemRemoved, name="ItemAdded")])
    assert now.decode(*first.encode(guide.ItemRemoved("a"))).currency == "EUR"
    assert now.encode(guide.CheckedOut(5))[0].endswith("+json")


def test_the_errors_that_guides_name_are_public() -> None:
    pages = [GUIDE, GUIDE.with_name("operating.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"\b[A-Z]\w+Error\b", text))
    assert len(named) > 15
    assert named <= set(thespian_dc.__all__)
