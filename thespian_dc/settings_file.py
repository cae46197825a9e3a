"""Read a node's settings from a TOML file and the environment: the edge around settings_toml."""

from __future__ import annotations

import difflib
import importlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Settings
from thespian_dc.model.settings_toml import settings_from


def settings_from_toml(
    path: str | os.PathLike[str], environment: Mapping[str, str] | None = None
) -> Settings:
    """The Settings in a TOML file; see docs/cli.md for its form.

    environment: what replaces scalar fields, by default the process's (THESPIAN_DC_JOURNAL, …). The
    modules that "module:name" values name are imported. SettingsError names file and field.
    """
    try:
        parsed = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise SettingsError(f"{path}: {error}") from error
    try:
        return settings_from(parsed, resolve, os.environ if environment is None else environment)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def resolve(name: str) -> Any:
    """The object that "module:name" stands for."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            remedy = "is its folder on PYTHONPATH?"
            raise SettingsError(f"there is no module {module_name!r}; {remedy}") from error
        raise SettingsError(f"{module_name!r} needs a missing module: {error}") from error
    except Exception as error:  # a module's code may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(f"{module_name!r} cannot be imported: {reason}") from error
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"{module_name!r} has no {attribute!r}{hint}")
    return getattr(module, attribute)
