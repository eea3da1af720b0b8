"""The fast messages are byte for byte those of the protocol library."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.dirty import wire
from gunicorn_dirty_protocol import (
    Chunk,
    DecodeError,
    EncodeError,
    Limits,
    MessageError,
    Request,
    Response,
    encode,
    unpack_header,
)
from hypothesis import given
from hypothesis import strategies as st


def request_frame(*args: Any) -> bytes:
    return wire.whole(wire.request_frame(*args))


def response_frame(*args: Any) -> bytes:
    return wire.whole(wire.response_frame(*args))


def chunk_frame(*args: Any) -> bytes:
    return wire.whole(wire.chunk_frame(*args))


def no_mapping(token: int, length: int) -> memoryview:
    raise AssertionError("the payload is said to lie in a mapping")


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.binary(), st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8,
)


@given(st.text(), st.text(), st.lists(values, max_size=3), st.dictionaries(st.text(), values, max_size=3))
def test_requests(app: str, action: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    frame = request_frame(7, app, action, args, kwargs)
    assert frame == Request(7, app, action, args, kwargs).to_bytes()
    route, deadline, *rest = wire.read_request(memoryview(frame)[wire.HEADER_SIZE :], no_mapping)
    assert [*route[:2], deadline, *rest] == [app, action, None, args, kwargs]


options = st.builds(
    wire.Options,
    # No -0.0: the front of a request with 0.0 is known by then, and serves.
    st.none() | st.floats(allow_nan=False, allow_infinity=False).map(lambda seconds: seconds + 0.0),
    st.none() | st.integers(-5, 5),
    st.none() | st.text(),
    st.none() | st.text(),
    st.none(),
)


@given(st.lists(st.tuples(st.text(max_size=5), options), min_size=1, max_size=5), st.booleans())
def test_requests_with_options(calls: list[tuple[str, wire.Options]], twice: bool) -> None:
    routes = wire.Routes()
    for action, given_options in calls * (1 + twice):
        frame = request_frame(7, "m:A", action, [1], {}, given_options)
        assert frame == Request(7, "m:A", action, [1], {}, *given_options).to_bytes()
        found = routes.find(bytearray(frame), wire.HEADER_SIZE, len(frame))
        assert found is not None
        route, deadline, args, kwargs = wire.read_request(frame[wire.HEADER_SIZE :], no_mapping)
        for known in (found, route):
            assert known[:2] == ("m:A", action)
            assert known.options._replace(deadline=None) == given_options._replace(deadline=None)
        assert (deadline, args, kwargs) == (given_options.deadline, [1], {})
        assert wire.read_deadline(found, frame, wire.HEADER_SIZE) == given_options.deadline


OPTIONS = [wire.NO_OPTIONS, wire.Options(2.5), wire.Options(2.5, 3, "trace", "key")]


@pytest.mark.parametrize("given_options", OPTIONS)
@pytest.mark.parametrize(("token", "length"), [(0, 1), (2**63 - 1, 2**63 - 1)])
def test_requests_that_lie_elsewhere(given_options: wire.Options, token: int, length: int) -> None:
    action, data = "away", b"x"
    kwargs = {"more": bytes(300_000)}
    large = wire.request_frame(7, "m:A", action, [data], kwargs, given_options)
    assert isinstance(large, list)
    small = wire.shared_request(large, token, length)
    given_there = given_options._replace(shared=[token, length])
    assert small == Request(7, "m:A", action, [data], kwargs, *given_there).to_bytes()

    def fetch(*place: int) -> memoryview:
        assert place == (token, length)
        return memoryview(wire.whole(large))[wire.HEADER_SIZE :]

    route, deadline, args, found_kwargs = wire.read_request(small[wire.HEADER_SIZE :], fetch)
    assert (route[:2], deadline, args, found_kwargs) == (("m:A", action), given_options.deadline, [data], kwargs)
    assert route.options == given_there
    found = wire.Routes().find(bytearray(small), wire.HEADER_SIZE, len(small))
    assert found is not None
    assert found[:3] == ("m:A", action, given_options)


@pytest.mark.parametrize("given_options", OPTIONS)
@pytest.mark.parametrize("data", [b"", b"x" * 100_000, b"x" * 300_000])
def test_requests_whose_results_may_lie_elsewhere(given_options: wire.Options, data: bytes) -> None:
    action, token = "away", 2**62
    frame = wire.request_frame(7, "m:A", action, [data], {}, given_options)
    place = given_options._replace(shared=[token, 0])
    offered = wire.shared_request(frame, token, 0)
    assert wire.whole(offered) == Request(7, "m:A", action, [data], {}, *place).to_bytes()
    route, _, args, _ = wire.read_request(wire.whole(offered)[wire.HEADER_SIZE :], no_mapping)
    assert (route.options, args) == (place, [data])
    assert wire.front_of(frame) in wire.whole(frame)
    assert wire.front_of(wire.request_frame(8, "m:A", action, [1], {}, given_options)) == wire.front_of(frame)


@given(st.integers(0, 2**63 - 1))
def test_answers_that_lie_elsewhere(length: int) -> None:
    frame = wire.shared_response(7, length)
    assert frame == Response(7, shared=length).to_bytes()
    assert wire.read_shared(frame[wire.HEADER_SIZE :]) == length
    assert wire.read_shared(memoryview(frame)[wire.HEADER_SIZE :]) == length
    assert wire.read_shared(response_frame(7, {"shared": length})[wire.HEADER_SIZE :]) is None
    assert wire.front_of(frame) == b""


def test_a_deadline_can_be_changed_on_the_way() -> None:
    routes = wire.Routes()
    for seconds in (5.0, 7.5):
        frame = bytearray(request_frame(1, "m:A", "go", [1], {}, wire.Options(seconds, 2)))
        route = routes.find(frame, wire.HEADER_SIZE, len(frame))
        assert route is not None
        assert wire.read_deadline(route, frame, wire.HEADER_SIZE) == seconds
        wire.write_deadline(route, frame, wire.HEADER_SIZE, 1.25)
        assert wire.read_request(bytes(frame[wire.HEADER_SIZE :]), no_mapping)[1:] == (1.25, [1], {})
    assert len(routes._known) == 1


def test_a_deadline_that_is_written_in_another_way_is_read_and_left_alone() -> None:
    payload = encode({"deadline": 3, "action": "go", "app_path": "m:A", "args": [], "kwargs": {}})
    route = wire.Routes().find(bytearray(payload), 0, len(payload))
    assert route is not None
    assert wire.read_deadline(route, payload, 0) == 3.0
    changed = bytearray(payload)
    wire.write_deadline(route, changed, 0, 1.0)
    assert changed == payload
    assert wire.read_request(payload, no_mapping)[1] == 3.0


def test_a_name_that_contains_a_deadline_misleads_nobody() -> None:
    routes = wire.Routes()
    trap = (encode("deadline") + encode(2.5)).decode("latin-1")
    for action in (f"go{trap}", trap, "go"):
        for seconds in (None, 4.0, 5.0):
            frame = request_frame(1, "m:A", action, [], {}, wire.Options(seconds))
            route = routes.find(bytearray(frame), wire.HEADER_SIZE, len(frame))
            assert route is not None
            assert route[:2] == ("m:A", action)
            assert wire.read_deadline(route, frame, wire.HEADER_SIZE) == seconds
            read, deadline, _, _ = wire.read_request(frame[wire.HEADER_SIZE :], no_mapping)
            assert (read[:2], deadline) == (("m:A", action), seconds)


@given(values)
def test_answers(value: Any) -> None:
    frame = response_frame(2**64 - 1, value)
    assert frame == Response(2**64 - 1, value).to_bytes()
    assert wire.read_response(memoryview(frame)[wire.HEADER_SIZE :]) == value
    frame = chunk_frame(3, value)
    assert frame == Chunk(3, value).to_bytes()
    assert wire.read_chunk(frame[wire.HEADER_SIZE :]) == value
    assert unpack_header(frame).request_id == 3


def test_answers_with_other_keys_are_read_too() -> None:
    assert wire.read_response(encode({"note": 1, "result": 2})) == 2
    assert wire.read_chunk(encode({"data": 3, "note": 1})) == 3


@pytest.mark.parametrize("payload", [encode({"other": 1}), encode([1]), encode(None)])
def test_answers_that_are_none(payload: bytes) -> None:
    with pytest.raises(MessageError):
        wire.read_response(payload)


@pytest.mark.parametrize(
    "payload",
    [
        {"action": "go"},
        {"app_path": 1, "action": "go"},
        {"app_path": "m:A", "action": "go", "args": {}},
        {"app_path": "m:A", "action": "go", "kwargs": []},
        [1],
        None,
    ],
)
def test_requests_that_are_none(payload: Any) -> None:
    with pytest.raises(MessageError):
        wire.read_request(encode(payload), no_mapping)


def test_bytes_that_are_cut_are_an_error() -> None:
    frame = response_frame(1, "text")
    for end in range(len(frame) - wire.HEADER_SIZE):
        with pytest.raises((DecodeError, MessageError)):
            wire.read_response(frame[wire.HEADER_SIZE : wire.HEADER_SIZE + end])


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LIMITS", Limits(max_payload=100_000))
    with pytest.raises(EncodeError, match="exceeds the limit of 100000"):
        request_frame(1, "m:A", "go", ["x" * 100_000], {})
    with pytest.raises(EncodeError, match="exceeds the limit of 100000"):
        response_frame(1, "x" * 100_000)


def find(routes: wire.Routes, frame: bytes) -> tuple[str, str] | None:
    route = routes.find(bytearray(frame), wire.HEADER_SIZE, len(frame))
    return None if route is None else (route.app_path, route.action)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=10))
def test_routes_are_those_of_the_request(pairs: list[tuple[str, str]]) -> None:
    routes = wire.Routes()
    for _ in range(2):
        for app, action in pairs:
            assert find(routes, request_frame(1, app, action, [1], {})) == (app, action)


def test_a_name_that_contains_what_follows_it_misleads_nobody() -> None:
    routes = wire.Routes()
    trap = encode("args").decode("latin-1")
    for action in (f"go{trap}", f"go{trap}2", "go", trap):
        for _ in range(2):
            assert find(routes, request_frame(1, "m:A", action, [], {})) == ("m:A", action)


@given(st.lists(st.tuples(st.text(max_size=5), options), min_size=1, max_size=5))
def test_a_front_decides_the_route_of_what_begins_with_it(calls: list[tuple[str, wire.Options]]) -> None:
    routes = wire.Routes()
    fronts = []
    for action, given_options in calls * 2:
        frame = request_frame(7, "m:A", action, [1], {}, given_options)
        found = routes.find(bytearray(frame), wire.HEADER_SIZE, len(frame))
        fronts.append(routes.front)
        payload = frame[wire.HEADER_SIZE :]
        for head, tail_at, tail, route in fronts:
            if route is not None and payload.startswith(head) and (not tail_at or payload.startswith(tail, tail_at)):
                assert route == found
    recurring = all(one.traceparent is None and one.idempotency_key is None for _, one in calls)
    assert all(front.route is not None for front in fronts) or not recurring


def test_routes_ask_for_more_and_refuse_nonsense() -> None:
    routes = wire.Routes()
    frame = request_frame(1, "m:A", "go", ["x" * 50], {})
    route_ends = frame.index(encode("args")) + len(encode("args"))
    for end in range(wire.HEADER_SIZE, route_ends):
        assert find(routes, frame[:end]) is None
    assert find(routes, frame[:route_ends]) == ("m:A", "go")
    with pytest.raises((DecodeError, MessageError)):
        find(routes, frame[: wire.HEADER_SIZE] + encode([1, 2]))


def test_optional_keys_before_the_arguments_are_allowed() -> None:
    frame = Request(1, "m:A", "go", [], {}, deadline=2.5, priority=3).to_bytes()
    assert find(wire.Routes(), frame) == ("m:A", "go")


def test_what_is_remembered_is_bounded() -> None:
    routes = wire.Routes()
    for number in range(3000):
        find(routes, request_frame(1, "m:A", f"go{number}", [], {}))
    assert len(routes._known) <= 1024
    assert len(wire._fronts) <= 1024


def test_large_frames_are_in_pieces_and_copy_nothing() -> None:
    value = b"x" * 1_000_000
    frame = wire.request_frame(1, "m:A", "go", [value, "text"], {"k": value})
    assert isinstance(frame, list)
    assert sum(piece is value for piece in frame) == 2
    assert wire.whole(frame) == Request(1, "m:A", "go", [value, "text"], {"k": value}).to_bytes()
    answer = wire.response_frame(1, value)
    assert wire.whole(answer) == Response(1, value).to_bytes()
