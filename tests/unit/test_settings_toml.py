"""Settings in TOML: the same as in Python, and every mistake named by its path."""

from __future__ import annotations

import dataclasses
import re
import sys
import tomllib
import typing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import thespian_dc
from thespian_dc import settings_from_toml
from thespian_dc.model import settings as model
from thespian_dc.model.criteria import Exclude, Include
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.history import History
from thespian_dc.model.settings import (
    Limits,
    Local,
    Projection,
    Push,
    Remote,
    Settings,
    Stream,
    Tls,
)
from thespian_dc.model.settings_toml import settings_from, variables
from thespian_dc.model.transformation import Transformation
from thespian_dc.settings_file import resolve


class Cart:
    entity_type = "cart"


class CountItems:
    """A handler."""


def to_public(event: Any) -> Any:
    return event


BY_TYPE = Transformation().identity(Cart)
HERE = sys.modules[__name__]
FULL = """
service = "shop"
journal = "sqlite:///shop.db"
entities = ["here:Cart"]
listen = "0.0.0.0:8101"
hosts = 2
slices = 32
[tls]
certificate = "a.pem"
key = "a.key"
authority = "ca.pem"
client_auth = false
[[streams]]
stream_id = "carts"
entity = "here:Cart"
transform = "here:to_public"
events = ["here:CountItems"]
[[streams]]
stream_id = "raw"
entity = "cart"
[[projections]]
name = "near"
source = { entity_type = "cart" }
handler = "here:CountItems"
positions = "sqlite:///p.db"
restart_backoff_ms = [100, 2000]
[[projections]]
name = "far"
source = { stream_id = "carts", target = "localhost:8101" }
handler = "here:CountItems"
positions = "sqlite:///p.db"
delivery = "at-least-once"
[limits]
stash_max = 7
passivate_after_s = 30
"""


def here(name: str) -> Any:
    return getattr(HERE, name.removeprefix("here:"))


def read(text: str, **environment: str) -> Settings:
    return settings_from(tomllib.loads(text), here, environment)


def test_toml_says_the_same_as_python() -> None:
    """One table, one dataclass; a whole number will do for a fraction."""
    assert read(FULL) == Settings(
        service="shop", journal="sqlite:///shop.db", entities=(Cart,), listen="0.0.0.0:8101",
        hosts=2, slices=32, tls=Tls("a.pem", "a.key", "ca.pem", client_auth=False),
        streams=(
            Stream("carts", Cart, transform=to_public, events=(CountItems,)),
            Stream("raw", "cart"),
        ),
        projections=(
            Projection("near", Local("cart"), CountItems, "sqlite:///p.db",
                       restart_backoff_ms=(100, 2000)),
            Projection("far", Remote("carts", "localhost:8101"), CountItems, "sqlite:///p.db",
                       delivery="at-least-once"),
        ),
        limits=Limits(stash_max=7, passivate_after_s=30.0),
    )  # fmt: skip


def test_a_transformation_by_type_is_named_like_a_function() -> None:
    assert read(FULL.replace("here:to_public", "here:BY_TYPE")).streams[0].transform is BY_TYPE


def test_what_is_left_out_has_its_default() -> None:
    """As in Python."""
    assert read('service = "shop"') == Settings("shop")


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("hosts = 2", "hosts = '2'", "hosts must be a whole number, not '2'"),
        ("hosts = 2", "hosts = true", "hosts must be a whole number, not True"),
        ("hosts = 2", "hosts = 0", "hosts must be 1 to 64 where entities are served, not 0"),
        ("hosts = 2", "hosts = 65", "hosts must be 1 to 64 where entities are served, not 65"),
        ("hosts = 2", "host = 2", "host is unknown; did you mean hosts?"),
        ("hosts = 2", "xyzzy = 2", "xyzzy is unknown; there are service, journal"),
        ('service = "shop"', "", "service is missing"),
        ('service = "shop"', "service = 1", "service must be text, not 1"),
        ("slices = 32", "slices = 33", "slices must be a power of two"),
        ("stash_max = 7", "stash_max = 7.5", "limits.stash_max must be a whole number, not 7.5"),
        ("stash_max = 7", "stashmax = 7", "limits.stashmax is unknown; did you mean stash_max?"),
        ("= 30", "= 2026-01-01", "limits.passivate_after_s must be a number, not datetime.date"),
        ('"here:to_public"', "5", 'streams[0].transform must be "module:name", not 5'),
        ('"here:to_public"', '"to_public"', 'streams[0].transform must be "module:name", not'),
        ('"here:to_public"', '"here:TIMES"', "streams[0]: transform must be a class or function"),
        ('["here:CountItems"]', '"x:y"', "streams[0].events must be a list, not 'x:y'"),
        ('["here:CountItems"]', "[1]", 'streams[0].events[0] must be "module:name", not 1'),
        ('entity = "cart"', "entity = 1", 'streams[1].entity must be "module:name", not 1'),
        ('stream_id = "raw"', "", "streams[1].stream_id is missing"),
        ('["here:Cart"]', '["here:to_public"]', "entities[0] must name a class, not <function"),
        ("[100, 2000]", "[100]", "projections[0].restart_backoff_ms must be a list of 2 values"),
        ("[100, 2000]", "[1, 'x']", "projections[0].restart_backoff_ms[1] must be a whole number"),
        ('{ entity_type = "cart" }', '"cart"', "projections[0].source must be a table, not 'cart'"),
        ('{ entity_type = "cart" }', "{}", "projections[0].source.stream_id is missing"),
        (
            '{ entity_type = "cart" }', '{ entity_typ = "cart", journal = "x" }',
            "projections[0].source.entity_typ is unknown; did you mean entity_type?",
        ),
        ('"localhost:8101"', '"localhost"', "projections[1].source: target must be 'host:port'"),
        ('"at-least-once"', '"never"', "projections[1]: projection far: delivery must be"),
        ("[limits]", "[[limits]]", "limits must be a table, not [{"),
        ('certificate = "a.pem"', "", "tls.certificate is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_path(before: str, after: str, text: str) -> None:
    """The path as one would write it, then what is wrong with the value there."""
    assert before in FULL
    with pytest.raises(SettingsError) as caught:
        read(FULL.replace(before, after, 1))
    assert str(caught.value).startswith(text)


TIMES = 3


def test_every_field_of_every_setting_can_be_written_in_toml() -> None:
    """A field added to the settings with a type that TOML has no form for fails here."""
    found = [one for one in vars(model).values() if isinstance(one, type)]
    classes = [one for one in found if dataclasses.is_dataclass(one)]
    assert {Settings, Stream, Projection, Remote, Local, Tls, Limits} <= set(classes)
    from thespian_dc.model.settings_toml import _value

    for one in classes:
        for name, hint in typing.get_type_hints(one).items():
            with pytest.raises(SettingsError):  # a date fits nothing; an AssertionError: no form
                _value(hint, tomllib.loads("d = 2026-01-01")["d"], name, here)


def test_pushes_and_destinations_are_written_as_they_read() -> None:
    """A table by name for what is bound to whom; a stream by its id, or as a table."""
    text = """
        service = "far"
        listen = "127.0.0.1:1"
        [[pushes]]
        stream = { stream_id = "carts", entity = "cart" }
        target = "localhost:2"
        metadata = { x-tenant = "north" }
        [[destinations]]
        stream_id = "carts"
        entity_type = "far-cart"
        origins = { shop = "", bar = "bar.example.org" }
        without_identity = true
    """
    read_as = read(text)
    sent = {"x-tenant": "north"}
    assert read_as.pushes == (Push(Stream("carts", "cart"), "localhost:2", metadata=sent),)
    (destination,) = read_as.destinations
    assert destination.origins == {"shop": "", "bar": "bar.example.org"}
    with pytest.raises(SettingsError, match=r"destinations\[0\].origins must be a table, not 5"):
        read(text.replace('{ shop = "", bar = "bar.example.org" }', "5"))
    with pytest.raises(SettingsError, match="origin 'shop' is bound to no certificate"):
        read(text.replace("without_identity = true", ""))
    with pytest.raises(SettingsError, match="a push names 'cars', which is none of streams"):
        read(text.replace('{ stream_id = "carts", entity = "cart" }', '"cars"'))


def test_filters_histories_and_starts_are_written_as_they_read() -> None:
    """Tables of lists, a word with dashes, a time of TOML's own or a word."""
    text = """
        service = "far"
        [[projections]]
        name = "large"
        handler = "here:CountItems"
        positions = "sqlite:///x.db"
        start = 2026-01-01T00:00:00Z
        source = { stream_id = "carts", target = "localhost:1", history = "from-snapshots" }
        filter = { exclude = { entity_ids = ["a"] }, include = { tags = ["large"] } }
    """
    [found] = read(text).projections
    assert found.start == datetime(2026, 1, 1, tzinfo=UTC)
    assert found.source == Remote("carts", "localhost:1", history=History.FROM_SNAPSHOTS)
    assert found.filter == Exclude.entity_ids("a") + Include.tags("large")
    [now] = read(text.replace("2026-01-01T00:00:00Z", '"now"')).projections
    assert now.start == "now"
    for bad in ('"soon"', "2026-01-01T00:00:00", "3"):
        with pytest.raises(SettingsError, match="start"):
            read(text.replace("2026-01-01T00:00:00Z", bad))
    with pytest.raises(SettingsError, match=r"projections\[0\].source.history must be one of full"):
        read(text.replace("from-snapshots", "some"))


# --- environment ---


def test_variables_replace_scalar_fields() -> None:
    """Also where the file has no such table."""
    found = read(
        'service = "shop"',
        THESPIAN_DC_SERVICE="bar", THESPIAN_DC_HOSTS="3", THESPIAN_DC_LIMITS_STASH_MAX="9",
        THESPIAN_DC_LIMITS_PASSIVATE_AFTER_S="1.5", THESPIAN_DC_PLAINTEXT_BEYOND_LOOPBACK="true",
    )  # fmt: skip
    limits = Limits(stash_max=9, passivate_after_s=1.5)
    assert found == Settings("bar", hosts=3, limits=limits, plaintext_beyond_loopback=True)


def test_variables_leave_their_neighbours_alone() -> None:
    """And the parsed file too."""
    parsed = tomllib.loads(FULL)
    found = settings_from(parsed, here, {"THESPIAN_DC_LIMITS_RESIDENT_MAX": "5"})
    assert found.limits == Limits(stash_max=7, passivate_after_s=30.0, resident_max=5)
    assert parsed == tomllib.loads(FULL)


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("THESPIAN_DC_HOSTS", "two", "THESPIAN_DC_HOSTS must be a whole number, not 'two'"),
        ("THESPIAN_DC_PLAINTEXT_BEYOND_LOOPBACK", "maybe", "must be true or false, not 'maybe'"),
        ("THESPIAN_DC_JORNAL", "x", "sets nothing; did you mean THESPIAN_DC_JOURNAL?"),
        ("THESPIAN_DC_SLICES", "3", "slices must be a power of two"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, text: str) -> None:
    """A misspelt one must not be passed over in silence."""
    with pytest.raises(SettingsError, match=re.escape(text)):
        read('service = "shop"', **{variable: value})


def test_variables_that_mean_something_else_are_let_through() -> None:
    """Tests, caches and debugging have theirs."""
    names = ("THESPIAN_DC_CI", "THESPIAN_DC_DEBUG", "THESPIAN_DC_CACHE", "PATH")
    others = dict.fromkeys(names, "1")
    assert read('service = "shop"', **others) == Settings("shop")
    assert not set(others) & set(variables())


# --- files and modules ---


def test_a_file_is_read_and_its_modules_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names at the top of the package lead to it."""
    (tmp_path / "toml_shop.py").write_text("class Cart:\n    entity_type = 'cart'\n")
    path = tmp_path / "node.toml"
    path.write_text('service = "shop"\nentities = ["toml_shop:Cart"]\n')
    monkeypatch.syspath_prepend(tmp_path)
    found = settings_from_toml(path, {"THESPIAN_DC_SLICES": "8"})
    assert [entity.__name__ for entity in found.entities] == ["Cart"]
    assert found.slices == 8
    assert "settings_from_toml" in thespian_dc.__all__


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file or directory"),
        (b"service = ", "Invalid value"),
        (b"\xff", "codec can't decode"),
        (b"service = 'a|b'", "must not hold '|'"),
    ],
)
def test_an_unreadable_file_is_a_settings_error(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    """With the file's name in front."""
    path = tmp_path / "node.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        settings_from_toml(path, {})
    assert str(caught.value).startswith(f"{path}: ")
    assert text in str(caught.value)


def test_what_a_module_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent module, module that needs an absent one, module that raises, absent name."""
    (tmp_path / "toml_needs.py").write_text("import toml_absent_need\n")
    (tmp_path / "toml_raises.py").write_text("raise ValueError('inside')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in (
        ("toml_absent:Cart", "there is no module 'toml_absent'; is its folder on PYTHONPATH?"),
        ("tomllib.absent:Cart", "there is no module 'tomllib.absent'"),
        ("toml_needs:Cart", "'toml_needs' needs a missing module: No module named 'toml_absent"),
        ("toml_raises:Cart", "'toml_raises' cannot be imported: ValueError: inside"),
        ("json:JSONDecodr", "'json' has no 'JSONDecodr'; did you mean JSONDecoder?"),
    ):
        with pytest.raises(SettingsError) as caught:
            resolve(name)
        assert str(caught.value).startswith(text)


def test_the_documented_example_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/cli.md shows works as it stands."""
    docs = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", docs, re.DOTALL)
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "__init__.py").write_text("")
    (shop / "cart.py").write_text("class Cart:\n    entity_type = 'cart'\n")
    (shop / "public.py").write_text("class PublicItemAdded: pass\ndef to_public(event): pass\n")
    (shop / "ranking.py").write_text("class CountItems: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "node.toml").write_text(example)
    found = settings_from_toml(tmp_path / "node.toml", {})
    assert [one.stream_id for one in found.streams] == ["carts"]
    assert found.limits.stash_max == 200


def judge(call: Any) -> None:
    """An interceptor."""


def test_access_is_written_in_toml() -> None:
    """Rules, limits, an interceptor by name, and what a consumer's requests carry."""
    text = """
    service = "shop"
    listen = "localhost:8101"
    [access]
    interceptor = "here:judge"
    reflection = true
    limits = { streams_per_identity = 7 }
    [[streams]]
    stream_id = "carts"
    entity = "cart"
    allow = ["ranking.example.org"]
    [[projections]]
    name = "far"
    handler = "here:CountItems"
    positions = "sqlite:///p.db"
    [projections.source]
    stream_id = "carts"
    target = "localhost:8101"
    metadata = { x-tenant = "north", authorization = "file:/run/token" }
    """
    settings = settings_from(tomllib.loads(text), here)
    access = settings.access
    assert (access.interceptor, access.reflection) == (judge, True)
    assert access.limits.streams_per_identity == 7
    assert settings.streams[0].allow == ("ranking.example.org",)
    source = settings.projections[0].source
    assert isinstance(source, Remote)
    assert source.metadata == {"x-tenant": "north", "authorization": "file:/run/token"}
    assert hash(source)
