"""A push that was refused goes on dialling, and is let in as soon as it may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.streams.material import Added, Writer
from tests.streams.pushing import destination, error_of, total, with_token
from tests.streams.test_push import Start, bring, receive, server
from thespian_dc.model.access import Access
from thespian_dc.testkit.eventually import eventually

__all__ = ["bring", "receive", "server"]  # fixtures


def test_who_was_refused_is_let_in_when_settings_say_so(
    writer: Writer, receive: Start, bring: Any, far_url: str
) -> None:
    """It goes on dialling: nothing begins again at the producer."""
    writer.add([("c-1", Added("apple", 1))])
    far, port = receive(destination(origins={"mall": ""}))
    pusher = bring(port)
    eventually(lambda: "OriginRefusedError" in error_of(pusher))
    far.stop()
    receive(listen=f"127.0.0.1:{port}")
    eventually(lambda: total(far_url) == 1, deadline_s=30)


def test_a_push_carries_metadata_with_a_secret_that_is_read_for_each_call(
    writer: Writer, receive: Start, bring: Any, far_url: str, tmp_path: Path
) -> None:
    """A destination may ask for a token, as a producer may of those that pull; one that is renewed
    in its file is enough to be let in. What cannot be read is named."""
    writer.add([("c-1", Added("apple", 1))])
    _, port = receive(access=Access(interceptor=with_token))
    token = tmp_path / "token"
    pusher = bring(port, metadata={"authorization": f"file:{token}"})
    eventually(lambda: "token cannot be read" in error_of(pusher))
    token.write_text("Bearer one\n")
    eventually(lambda: error_of(pusher) == "CallRefusedError: no valid token")
    assert total(far_url) == 0
    token.write_text("Bearer two\n")
    eventually(lambda: total(far_url) == 1, deadline_s=30)
