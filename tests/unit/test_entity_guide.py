"""The first example of docs/entities.md, and its test, are what they say."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "entities.md"


def test_first_example_passes_its_own_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guide whose code does not run teaches nothing."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    example = next(block for block in blocks if "class Cart" in block)
    trial = next(block for block in blocks if "def test_adding" in block)
    (tmp_path / "guide_example.py").write_text(f"{example}\n{trial}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("guide_example").test_adding()
