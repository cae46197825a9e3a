"""Rules of streams, what an identity may use, and what settings of both are refused. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thespian_dc.model.access import Access, Rules, StreamCall, StreamLimits
from thespian_dc.model.access_errors import TooManyRequestsError, TooManyStreamsError
from thespian_dc.model.criteria import CRITERIA_MAX
from thespian_dc.model.errors import SettingsError
from thespian_dc.model.settings import Remote, Settings, Stream
from thespian_dc.stream.limits_core import IDENTITIES_MAX, LimitsCore

SECOND_US = 1_000_000
NAMES = ("a.example.org", "spiffe://example.org/b", "c")


def test_without_any_rule_all_streams_are_open() -> None:
    """Also one that does not exist: that it does not is the next thing the caller is told."""
    rules = Rules({"carts": None, "orders": None})
    assert all(rules.permit(stream_id, ()) for stream_id in ("carts", "orders", "no"))
    assert not rules.needs_certificates


def test_one_rule_closes_all_streams_without_one() -> None:
    """Deny by default: a stream that somebody adds later is not open by oversight."""
    rules = Rules({"carts": ["c"], "orders": None, "public": ["*"], "shut": []})
    assert rules.permit("carts", NAMES)
    assert not rules.permit("carts", ("C", "cc", "*"))
    assert not rules.permit("orders", NAMES)
    assert rules.permit("public", ())
    assert not rules.permit("shut", NAMES)
    assert not rules.permit("no", NAMES)
    assert rules.needs_certificates


def test_a_rule_for_anyone_needs_no_certificates() -> None:
    """The server decides whom it lets in at all."""
    assert not Rules({"public": ["*"], "shut": []}).needs_certificates


@given(
    st.dictionaries(st.sampled_from("xyz"), st.none() | st.lists(st.sampled_from([*NAMES, "*"]))),
    st.sampled_from("xyzw"), st.frozensets(st.sampled_from(NAMES)),
)  # fmt: skip
def test_who_is_permitted_is_named(
    allow: dict[str, list[str] | None], stream_id: str, identities: frozenset[str]
) -> None:
    """Against a twin that says it in one line."""
    named = allow.get(stream_id)
    open_to_all = all(rules is None for rules in allow.values())
    expected = open_to_all or bool(named and ("*" in named or identities & set(named)))
    assert Rules(allow).permit(stream_id, identities) is expected


@pytest.mark.parametrize("allow", ["ranking", [""], ["a", ""]])
def test_what_is_no_list_of_names_is_refused(allow: object) -> None:
    """A text would be taken for a list of letters."""
    with pytest.raises(SettingsError, match="allow must be a list of names"):
        Stream("carts", "cart", allow=allow)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "metadata",
    [{"Tenant": "a"}, {"grpc-x": "a"}, {"x-bin": "a"}, {"x": "a\nb"}, {"x": ""}, {"x": "ä"}],
)
def test_metadata_that_cannot_be_sent_is_refused(metadata: dict[str, str]) -> None:
    """When the settings are built, not at the first call."""
    with pytest.raises(SettingsError, match="metadata"):
        Remote("carts", "localhost:1", metadata=metadata)


def test_metadata_is_not_printed() -> None:
    """Settings are printed in logs and by Thespian."""
    assert "tok" not in repr(Remote("carts", "localhost:1", metadata={"x": "token"}))


def test_limits_and_interceptors_are_checked_when_they_are_set() -> None:
    """The field is named."""
    with pytest.raises(SettingsError, match="requests_per_s"):
        StreamLimits(requests_per_s=0)
    with pytest.raises(SettingsError, match=f"filter_criteria_max must be at most {CRITERIA_MAX}"):
        StreamLimits(filter_criteria_max=CRITERIA_MAX + 1)

    def local(call: StreamCall) -> None: ...

    with pytest.raises(SettingsError, match=r"access\.interceptor"):
        Settings(service="shop", access=Access(interceptor=local))


def test_a_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    """10 a second after 5 at once, whatever came before."""
    core = LimitsCore(StreamLimits(requests_per_s=10, requests_burst=5))
    for _ in range(5):
        core.request("a", 0)
    with pytest.raises(TooManyRequestsError, match=r"a is over StreamLimits\.requests_per_s, 10"):
        core.request("a", 0)
    core.request("a", SECOND_US // 10)
    with pytest.raises(TooManyRequestsError):
        core.request("a", SECOND_US // 10)
    for _ in range(5):
        core.request("a", 10 * SECOND_US)
    with pytest.raises(TooManyRequestsError):
        core.request("a", 10 * SECOND_US)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, SECOND_US // 2)), max_size=200))
def test_no_identity_is_let_more_or_takes_from_another(steps: list[tuple[str, int]]) -> None:
    """In any time at most burst + rate x time; and one is answered as if it were alone."""
    limits = StreamLimits(requests_per_s=10, requests_burst=5)
    both, alone, now, passed = LimitsCore(limits), LimitsCore(limits), 0, 0

    def lets(core: LimitsCore, identity: str) -> bool:
        try:
            core.request(identity, now)
        except TooManyRequestsError:
            return False
        return True

    for identity, pause_us in steps:
        now += pause_us
        let = lets(both, identity)
        if identity == "a":
            assert let == lets(alone, identity)
            passed += let
    assert passed <= 5 + 10 * now / SECOND_US + 1e-6


def test_streams_and_questions_count_while_they_are_open() -> None:
    """An end gives back what was taken, also one by an error."""
    core = LimitsCore(StreamLimits(streams_per_identity=1, questions_per_identity=1))
    with core.stream("a", 0):
        with pytest.raises(TooManyStreamsError, match="a has 1 open streams"), core.stream("a", 0):
            pass
        with (
            core.stream("b", 0),
            core.question("a", 0),
            pytest.raises(TooManyRequestsError, match="questions_per_identity"),
            core.question("a", 0),
        ):
            pass
    with pytest.raises(KeyError), core.stream("a", 0):
        raise KeyError
    with core.stream("a", 0):
        pass


def test_identities_without_use_are_forgotten() -> None:
    """Peers that come from ever new addresses fill no memory; those with a debt stay."""
    core = LimitsCore(StreamLimits(requests_per_s=1, requests_burst=1))
    core.request("debtor", SECOND_US * 5)
    for i in range(IDENTITIES_MAX + 10):
        with core.stream(f"host {i}", SECOND_US * 5):
            pass
    assert core.identities <= 20
    with pytest.raises(TooManyRequestsError):
        core.request("debtor", SECOND_US * 5)
