"""The cycle of one request: which messages an application gets, which it may send, and what they become."""

from typing import Any

import pytest
from gunicorn.asgi.cycle import COMPLETE, EXPECTED, FAILED, STARTED, STREAMING, ClientDisconnected, HTTPCycle
from gunicorn.http.errors import LocalProtocolError
from gunicorn.http.events import Data, Informational, ResponseHead, Trailers
from gunicorn.http.h1.head import HeadReader
from gunicorn.http.policy import Policy
from hypothesis import given
from hypothesis import strategies as st


def cycle(length: int = 0, fields: bytes = b"") -> HTTPCycle:
    head = b"POST /x HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d" % (fields, length)
    return HTTPCycle(HeadReader(Policy()).read(head, False, False))


def start(status: Any = 200, headers: Any = (), announced: bool = False) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, "trailers": announced}


def trailers(*headers: Any, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": headers, "more_trailers": more}


def body(data: Any = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


class TestReceive:
    def test_a_request_without_a_body_is_one_empty_message(self) -> None:
        made = cycle()
        assert not made.wants_body
        assert made.next_message() == {"type": "http.request", "body": b"", "more_body": False}
        assert made.next_message() is None
        assert not made.wants_body

    def test_a_body_comes_in_the_parts_it_was_read_in(self) -> None:
        made = cycle(5)
        assert made.wants_body
        assert made.next_message() is None
        made.feed(Data(b"ab"))
        made.feed(Data(b"cde", True))
        assert not made.wants_body
        assert made.next_message() == {"type": "http.request", "body": b"ab", "more_body": True}
        assert made.next_message() == {"type": "http.request", "body": b"cde", "more_body": False}
        assert made.next_message() is None
        assert not made.wants_body

    def test_disconnect_comes_after_what_was_received(self) -> None:
        made = cycle(5)
        made.feed(Data(b"ab"))
        made.disconnected = True
        assert made.next_message() == {"type": "http.request", "body": b"ab", "more_body": True}
        assert made.next_message() == {"type": "http.disconnect"}
        assert made.next_message() == {"type": "http.disconnect"}

    def test_disconnect_after_the_response(self) -> None:
        made = cycle()
        made.next_message()
        made.event_for(start())
        made.event_for(body(more=True))
        assert made.next_message() is None
        made.event_for(body())
        assert made.next_message() == {"type": "http.disconnect"}


class TestSend:
    def test_start_waits_for_the_body_and_leaves_with_it(self) -> None:
        made = cycle()
        assert made.event_for(start(201, [(b"a", b"b")])) is None
        assert made.state == STARTED
        assert not made.begun
        event = made.event_for(body(b"hello"))
        assert isinstance(event, ResponseHead)
        assert (event.status, event.headers, event.body, event.end_stream) == (201, [(b"a", b"b")], b"hello", True)
        assert (made.state, made.sent, made.status) == (COMPLETE, 5, 201)

    def test_a_streamed_response(self) -> None:
        made = cycle()
        made.event_for(start())
        head = made.event_for(body(b"a", more=True))
        assert isinstance(head, ResponseHead)
        assert not head.end_stream
        assert made.state == STREAMING
        assert made.begun
        part = made.event_for(body(b"bc", more=True))
        assert isinstance(part, Data)
        assert (part.data, part.end_stream) == (b"bc", False)
        last = made.event_for({"type": "http.response.body"})
        assert isinstance(last, Data)
        assert (last.data, last.end_stream) == (b"", True)
        assert (made.state, made.sent) == (COMPLETE, 3)

    @pytest.mark.parametrize("headers", [None, [], (), iter(())])
    def test_headers_are_optional_and_any_iterable(self, headers: Any) -> None:
        made = cycle()
        made.event_for({"type": "http.response.start", "status": 200, "headers": headers})
        event = made.event_for(body())
        assert isinstance(event, ResponseHead)
        assert event.headers == []

    def test_changes_to_the_headers_after_start_have_no_effect(self) -> None:
        made, headers = cycle(), [(b"a", b"b")]
        made.event_for(start(200, headers))
        headers.append((b"c", b"d"))
        assert made.headers == [(b"a", b"b")]

    @pytest.mark.parametrize("given_as", [bytearray(b"abc"), memoryview(b"abc")])
    def test_other_byte_strings_become_bytes(self, given_as: Any) -> None:
        made = cycle()
        made.event_for(start())
        event = made.event_for(body(given_as))
        assert isinstance(event, ResponseHead)
        assert type(event.body) is bytes
        assert event.body == b"abc"

    @pytest.mark.parametrize("given_as", ["text", 5, None, ["a"]])
    def test_a_body_that_is_no_byte_string_is_refused_before_anything_changes(self, given_as: Any) -> None:
        made = cycle()
        made.event_for(start())
        with pytest.raises(LocalProtocolError, match="not a byte string"):
            made.event_for(body(given_as))
        assert made.state == STARTED

    @pytest.mark.parametrize(
        ("before", "message", "text"),
        [
            ([], body(), "start has to come first"),
            ([start()], start(), "already started"),
            ([start(), body(more=True)], start(), "already started"),
            ([start(), body()], start(), "already complete"),
            ([start(), body()], body(), "already complete"),
            ([start(), body()], {"type": "http.response.early_hint", "links": []}, "already complete"),
            ([], trailers(), "start has to come first"),
            ([start(), body(more=True)], trailers(), "has to announce them by trailers=True"),
            ([start(announced=True)], trailers(), "they come after the body"),
            ([start(announced=True), body()], body(), "its trailers have to come"),
            ([start(announced=True), body(), trailers()], trailers(), "already complete"),
        ],
    )
    def test_messages_out_of_order(self, before: list[Any], message: dict[str, Any], text: str) -> None:
        made = cycle()
        for each in before:
            made.event_for(each)
        state = made.state
        with pytest.raises(LocalProtocolError, match=f"{message['type']} for POST /x: .*{text}"):
            made.event_for(message)
        assert made.state == state

    @pytest.mark.parametrize("kind", ["http.response.push", "http.response.pathsend", "websocket.accept", "x"])
    def test_unknown_messages(self, kind: str) -> None:
        with pytest.raises(LocalProtocolError, match=kind):
            cycle().event_for({"type": kind})

    def test_interim_responses(self) -> None:
        made = cycle()
        hint = made.event_for({"type": "http.response.early_hint", "links": [b"</a>; rel=preload", b"</b>"]})
        assert isinstance(hint, Informational)
        assert (hint.status, hint.headers) == (103, [(b"link", b"</a>; rel=preload"), (b"link", b"</b>")])
        other = made.event_for({"type": "http.response.informational", "status": 102, "headers": [[b"a", b"b"]]})
        assert isinstance(other, Informational)
        assert (other.status, other.headers) == (102, [(b"a", b"b")])
        assert made.state == EXPECTED

    @pytest.mark.parametrize("status", [99, 100, 101, 200])
    def test_interim_responses_that_are_not_the_applications(self, status: int) -> None:
        with pytest.raises(LocalProtocolError, match="102 to 199"):
            cycle().event_for({"type": "http.response.informational", "status": status})

    def test_hints_that_come_with_the_response_are_sent_before_it_and_later_ones_are_dropped(self) -> None:
        made, hint = cycle(), {"type": "http.response.early_hint", "links": [b"</a>"]}
        made.event_for(start())
        event = made.event_for(hint)
        assert isinstance(event, Informational)
        assert (event.status, event.headers) == (103, [(b"link", b"</a>")])
        assert made.state == STARTED
        made.event_for(body(more=True))
        assert made.event_for(hint) is None
        assert made.state == STREAMING

    @pytest.mark.parametrize(
        "message",
        [
            {"type": "http.response.early_hint", "links": b"</a>"},
            {"type": "http.response.early_hint", "links": ["</a>"]},
            {"type": "http.response.informational", "status": 103, "headers": [(b"a", 5)]},
            {"type": "http.response.informational", "status": "103"},
        ],
    )
    def test_interim_responses_of_wrong_types(self, message: dict[str, Any]) -> None:
        made = cycle()
        with pytest.raises(LocalProtocolError):
            made.event_for(message)
        assert made.state == EXPECTED

    @pytest.mark.parametrize("status", ["200", None, 200.0])
    def test_a_status_that_is_no_number(self, status: Any) -> None:
        made = cycle()
        with pytest.raises(LocalProtocolError, match="not a number"):
            made.event_for(start(status))
        assert made.state == EXPECTED

    @pytest.mark.parametrize("message", [{}, {"type": "http.response.start"}])
    def test_missing_keys(self, message: dict[str, Any]) -> None:
        made = cycle()
        with pytest.raises(KeyError):
            made.event_for(message)
        assert made.state == EXPECTED

    @pytest.mark.parametrize(("fields", "sent"), [(b"TE: trailers\r\n", True), (b"", False)])
    @pytest.mark.parametrize("parts", [1, 2])
    def test_trailers_go_to_clients_that_take_them(self, fields: bytes, sent: bool, parts: int) -> None:
        made = cycle(fields=fields)
        made.event_for(start(announced=True))
        head = made.event_for(body(b"a", more=parts == 2))
        assert isinstance(head, ResponseHead)
        assert not head.end_stream
        if parts == 2:
            data = made.event_for(body(b"b"))
            assert isinstance(data, Data)
            assert not data.end_stream
        assert made.next_message() is not None
        assert made.next_message() is None  # not complete
        assert made.event_for(trailers([b"x-a", b"1"], more=True)) is None
        event = made.event_for(trailers((b"x-b", bytearray(b"2"))))
        if sent:
            assert isinstance(event, Trailers)
            assert event.headers == [(b"x-a", b"1"), (b"x-b", b"2")]
        else:
            assert isinstance(event, Data)
            assert (event.data, event.end_stream) == (b"", True)
        assert (made.state, made.sent) == (COMPLETE, parts)

    def test_a_replacement_of_a_rejected_head_announces_its_own_trailers(self) -> None:
        made = cycle()
        made.event_for(start(announced=True))
        event = made.event_for(body())
        assert event is not None
        made.rejected(event)
        made.event_for(start(500))
        event = made.event_for(body())
        assert isinstance(event, ResponseHead)
        assert event.end_stream
        assert made.state == COMPLETE

    def test_a_rejected_head_may_be_replaced(self) -> None:
        made = cycle()
        made.event_for(start())
        event = made.event_for(body(b"x"))
        assert event is not None
        made.rejected(event)
        assert made.state == EXPECTED
        made.event_for(start(500))
        assert isinstance(made.event_for(body(b"y")), ResponseHead)

    def test_a_rejected_part_ends_the_response(self) -> None:
        made = cycle()
        made.event_for(start())
        made.event_for(body(more=True))
        event = made.event_for(body(b"too much"))
        assert event is not None
        made.rejected(event)
        assert (made.state, made.begun) == (FAILED, True)
        with pytest.raises(LocalProtocolError, match="failed before"):
            made.event_for(body())
        assert made.next_message() is not None

    def test_a_rejected_interim_response_changes_nothing(self) -> None:
        made = cycle()
        made.rejected(Informational(103, [(b"link", b"\n")]))
        assert made.state == EXPECTED

    def test_headers_given_as_lists_of_any_byte_strings(self) -> None:
        made = cycle()
        made.event_for(start(200, [[b"a", bytearray(b"b")]]))
        assert made.plain_headers() == [(b"a", b"b")]
        assert made.headers == [(b"a", b"b")]

    @pytest.mark.parametrize("headers", [["ab"], [("a", "b")], [b"abc"], [(b"a",)], [5]])
    def test_headers_that_are_no_pairs_of_byte_strings(self, headers: Any) -> None:
        made = cycle()
        made.event_for(start(200, headers))
        with pytest.raises(LocalProtocolError, match="pairs of byte strings"):
            made.plain_headers()

    def test_a_gone_client_is_an_os_error(self) -> None:
        assert issubclass(ClientDisconnected, OSError)  # ASGI HTTP 2.4

    def test_repr_names_request_and_state(self) -> None:
        assert repr(cycle()) == "<HTTPCycle POST /x expected>"


MESSAGES = st.sampled_from(
    [start(), body(b"x"), body(b"y", more=True), {"type": "http.response.early_hint", "links": []}, {"type": "?"}]
)


@given(st.lists(MESSAGES, max_size=12))
def test_whatever_an_application_sends_the_wire_sees_one_response(messages: list[dict[str, Any]]) -> None:
    made, events = cycle(), []
    for message in messages:
        try:
            event = made.event_for(message)
        except LocalProtocolError:
            continue
        if event is not None:
            events.append(event)
    final = [event for event in events if not isinstance(event, Informational)]
    assert events[len(events) - len(final) :] == final
    assert [isinstance(event, ResponseHead) for event in final] == ([True] + [False] * len(final))[: len(final)]
    ends = [isinstance(event, Trailers) or event.end_stream for event in final]
    assert not any(ends[:-1])
    assert (made.state == COMPLETE) == (bool(ends) and ends[-1])


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=6), st.booleans())
def test_whatever_body_comes_in_whatever_parts_the_application_gets_all_of_it(parts: list[bytes], cut: bool) -> None:
    made = cycle(1)
    for number, part in enumerate(parts, 1):
        made.feed(Data(part, number == len(parts) and not cut))
    made.disconnected = cut
    received, more = b"", True
    while more:
        message = made.next_message()
        assert message is not None
        if message["type"] == "http.disconnect":
            assert cut
            break
        received += message["body"]
        more = message["more_body"]
    assert received == b"".join(parts)
    assert more == cut


class TestFileHead:
    def test_the_length_is_the_files_unless_the_application_says_it(self) -> None:
        made = cycle()
        made.event_for(start(206, [(b"a", b"b")]))
        head = made.file_head(7)
        assert (head.status, head.headers, head.body, head.end_stream) == (
            206,
            [(b"a", b"b"), (b"content-length", b"7")],
            b"",
            False,
        )
        assert made.begun
        made = cycle()
        made.event_for(start(200, [[b"Content-Length", bytearray(b"7")]]))
        assert made.file_head(7).headers == [(b"Content-Length", b"7")]

    @pytest.mark.parametrize("declared", [b"6", b"8", b"x", b""])
    def test_another_length_is_refused_before_anything_changes(self, declared: bytes) -> None:
        made = cycle()
        made.event_for(start(200, [(b"content-length", declared)]))
        with pytest.raises(LocalProtocolError, match="the file has 7 bytes"):
            made.file_head(7)
        assert made.state == STARTED

    @pytest.mark.parametrize(
        ("before", "text"),
        [
            ([], "start has to come first"),
            ([start(announced=True)], "no room for the trailers"),
            ([start(), body(more=True)], "a part of another one was sent already"),
            ([start(), body()], "already complete"),
        ],
    )
    def test_out_of_order(self, before: list[Any], text: str) -> None:
        made = cycle()
        for each in before:
            made.event_for(each)
        state = made.state
        with pytest.raises(LocalProtocolError, match=f"http.response.pathsend for POST /x: .*{text}"):
            made.file_head(7)
        assert made.state == state
