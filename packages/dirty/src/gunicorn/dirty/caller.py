"""A client's connection at the arbiter: one end of the relay (call.py draws it). Made by the arbiter for each it
accepts."""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from gunicorn_dirty_protocol import DEFAULT_LIMITS, DecodeError, MessageError

from .call import ID, ID_OFFSET, READ_SIZE, PoolCall, ReceiveBuffer
from .errors import DirtyError, DirtyProtocolError
from .link import SlotLink
from .loop import HANGUP, READ, WRITE
from .outbox import Outbox
from .wire import (
    CANCEL,
    HEAD,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    NO_FRONT,
    REQUEST,
    REQUEST_HEAD,
    STASH,
    STASH_HEAD,
    VERSION,
    error_frame,
    read_deadline,
)

if TYPE_CHECKING:
    from .dispatch import Dispatcher

__all__ = ["Caller"]

_MAX_QUEUED_BODY = 256 * 1024  # bytes held of a waiting call's payload before its connection is not read further
_MAX_UNREAD = 256 * 1024  # bytes of answers that a client may leave unread before its requests are not read further
_MAX_COMMAND = 65536  # bytes of a STATUS or MANAGE payload


class Caller:
    """A client's connection: frames in, each a call or a command; frames of answers out, never mixed with one another.

    :ivar pid: the client's process, None where the system does not tell; `uid` likewise
    :ivar calls: its unanswered calls by the id that it gave them
    :ivar watches: its streams of the stash's changes, likewise
    """

    def __init__(self, pool: Dispatcher, sock: socket.socket, credentials: tuple[int, int] | None) -> None:
        self.pool = pool
        self.pid: int | None = credentials[0] if credentials else None
        self.uid: int | None = credentials[1] if credentials else None
        self.calls: dict[int, PoolCall] = {}
        self.watches: dict[int, Any] = {}
        self._message: tuple[int, bytearray] | None = None  # id and what came of a large STASH payload
        self._sock = sock
        self._buffer = pool.buffer
        self._rest = b""
        self._front = NO_FRONT  # of the last request: most are like the one before
        self._body_left = 0  # bytes of the current frame's payload that are still to come
        self._body_of: PoolCall | None = None  # whose they are; None to let them go
        self._writer: SlotLink | None = None  # is in the middle of a frame to the client
        # Behind it: bytes, whose they are (None: the arbiter's own), and whether they end inside a frame.
        self._waiting: deque[tuple[bytes, SlotLink | None, bool]] = deque()
        self._stalled: set[SlotLink] = set()  # links not read from until the client has read
        self._outbox = Outbox(pool.loop, sock, self._on_events, self._drained)
        self.closed = False

    # From the client

    def _on_events(self, events: int) -> None:
        if events != READ or not self._outbox.reading:
            if events & WRITE:
                self._outbox.flush()
            if self.closed:
                return
            if not (events & READ and self._outbox.reading):
                if events & HANGUP:
                    self.close()
                return
        rest = self._rest
        buffer = self._buffer
        try:
            end = buffer.fill(self._sock, rest) if rest else self._sock.recv_into(buffer.data, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if end == len(rest):
            self.close()
            return
        if end >= HEADER_SIZE and not rest and not self._body_left:
            head, length, request_id = HEAD.unpack_from(buffer.data)
            if length == end - HEADER_SIZE:
                # One whole message: what nearly always comes.
                if head == REQUEST_HEAD:
                    self._request(buffer, 0, end, request_id, length)
                    return
                if head == STASH_HEAD:
                    self.pool.stash.handle(self, request_id, bytes(buffer.view[HEADER_SIZE:end]))
                    return
        self._rest = b""
        pos = 0
        while pos < end:
            if self._body_left:
                size = min(self._body_left, end - pos)
                self._body(buffer.view[pos : pos + size])
            elif end - pos < HEADER_SIZE:
                break
            else:
                size = self._frame(buffer, pos, end)
                if not size:
                    break
            if self.closed:
                return
            pos += size
        if pos < end:
            self._rest = bytes(buffer.view[pos:end])

    def _frame(self, buffer: ReceiveBuffer, pos: int, end: int) -> int:
        """Begin the frame at `pos`; returns how many bytes were used, 0 when more are needed to begin."""
        magic, version, kind, length, request_id = HEADER.unpack_from(buffer.data, pos)
        if magic != MAGIC or version != VERSION:
            self._refuse_stream(buffer, pos, end)
            return 0
        start = pos + HEADER_SIZE
        stop = start + length
        if stop > end:
            stop = end
        if kind == REQUEST:
            return self._request(buffer, pos, stop, request_id, length)
        if kind == CANCEL:
            call = self.calls.get(request_id)
            if call is not None:
                self.pool.give_up(call)
            elif request_id in self.watches:
                self.watches[request_id].cancel()
        elif kind == STASH and stop - start == length:
            self.pool.stash.handle(self, request_id, bytes(buffer.view[start:stop]))
        elif kind == STASH and _MAX_COMMAND < length <= DEFAULT_LIMITS.max_payload:
            self._message = (request_id, bytearray(buffer.view[start:stop]))
        elif length > _MAX_COMMAND:
            self.send_error(
                request_id, DirtyProtocolError(f"a message of type {kind} has no payload of {length} bytes")
            )
        elif stop - start < length:
            return 0
        else:
            self.pool.command(self, kind, request_id, bytes(buffer.view[start:stop]))
        used: int = stop - pos
        self._body_left = HEADER_SIZE + length - used
        self._body_of = None
        return used

    def _request(self, buffer: ReceiveBuffer, pos: int, stop: int, request_id: int, length: int) -> int:
        pool = self.pool
        data = buffer.data
        start = pos + HEADER_SIZE
        left = length - (stop - start)
        try:
            head, tail_at, tail, route = self._front
            if (
                route is None
                or not data.startswith(head, start, stop)
                or (tail_at and not data.startswith(tail, start + tail_at, stop))
            ):
                route = pool.routes.find(data, start, stop)
                if route is None and left:
                    return 0
                if route is None:
                    raise DirtyProtocolError("the request ends before its app and action")
                self._front = pool.routes.front
            if request_id in self.calls or request_id in self.watches:
                raise DirtyProtocolError(
                    f"request id {request_id} is that of another request, which is not answered yet"
                )
            seconds = read_deadline(route, data, start) if route[3] else route[2][0]
            call = PoolCall(pool.next_call_id(), self, request_id, route, pool.loop.now, seconds)
            link = pool.submit(call)
        except (DecodeError, MessageError) as exc:
            self.send_error(request_id, DirtyProtocolError(f"malformed request: {exc}"))
        except DirtyError as exc:
            self.send_error(request_id, exc)
        else:
            self.calls[request_id] = call
            ID.pack_into(data, pos + ID_OFFSET, call.id)
            if link is None:
                call.held = [bytearray(buffer.view[pos:stop])]
            else:
                link.outbox.send(buffer.view[pos:stop] if pos else buffer.first[stop])
            if left:
                call.body_left = self._body_left = left
                self._body_of = call
                self.update_reading()
            return stop - pos
        self._body_left, self._body_of = left, None
        return stop - pos

    def _body(self, part: memoryview) -> None:
        self._body_left -= len(part)
        call = self._body_of
        if call is None:
            if self._message is not None:
                self._message[1].extend(part)
                if not self._body_left:
                    request_id, payload = self._message
                    self._message = None
                    self.pool.stash.handle(self, request_id, bytes(payload))
            return
        call.body_left = self._body_left
        link = call.slot
        if isinstance(link, SlotLink):
            link.outbox.send(part)
        else:
            assert call.held is not None
            call.held.append(bytes(part))
        if self._body_left:
            self.update_reading()
        else:
            self._body_of = None

    def _refuse_stream(self, buffer: ReceiveBuffer, pos: int, end: int) -> None:
        """Not the protocol: say so once and close, since nothing after it can be trusted."""
        shown = bytes(buffer.view[pos : min(end, pos + HEADER_SIZE)])
        self.send_error(0, DirtyProtocolError("these bytes are not version 1 of the dirty protocol", shown))
        self.close()

    def update_reading(self) -> None:
        """Read from the client unless it leaves answers unread, or what it sends has nowhere to go at the moment."""
        if self.closed:
            return
        blocked = self._outbox.pending > _MAX_UNREAD
        call = self._body_of
        if call is not None and not blocked:
            link = call.slot
            if isinstance(link, SlotLink):
                blocked = link.outbox.pending > 0
            else:
                blocked = sum(map(len, call.held or ())) > _MAX_QUEUED_BODY
        if blocked:
            self._outbox.pause()
        else:
            self._outbox.resume()

    def forget_body(self, call: PoolCall) -> None:
        """The rest of this call's request is no longer wanted: let it go as it comes."""
        if self._body_of is call:
            self._body_of = None
            self.update_reading()

    def forget(self, call: PoolCall) -> None:
        """This call is no longer one that the client waits for."""
        self.forget_body(call)
        if self.calls.get(call.caller_id) is call:
            del self.calls[call.caller_id]

    # To the client

    def deliver(self, link: SlotLink, data: memoryview, inside: bool) -> None:
        """Pass on what `link` has received; `inside` says that it ends within a frame."""
        if self._writer is not None and self._writer is not link:
            self._waiting.append((bytes(data), link, inside))
            self._stall(link)
            return
        self._outbox.send(data)
        self._writer = link if inside else None
        if self._waiting and not inside:
            self._next_writer()
        if self._outbox.pending:
            self._stall(link)

    def send_frame(self, frame: bytes) -> None:
        """Send a whole frame of the arbiter's own."""
        if self.closed:
            return
        if self._writer is not None:
            self._waiting.append((frame, None, False))
        else:
            self._outbox.send(frame)
            if self._outbox.pending:
                self.update_reading()

    def send_file(self, frame: bytes, fd: int) -> bool:
        """Send a whole frame with a descriptor; False when the connection does not take it at once."""
        if self.closed or self._writer is not None or self._outbox.pending:
            return False
        try:
            sent = socket.send_fds(self._sock, [frame], [fd])
        except OSError:
            return False
        self._outbox.send(frame[sent:])
        return True

    def send_error(self, request_id: int, error: DirtyError) -> None:
        self.send_frame(error_frame(request_id, error))

    def is_inside_frame_of(self, link: SlotLink) -> bool:
        """Whether part of a frame of `link` has gone, or waits to go, to the client."""
        return self._writer is link or any(entry[1] is link and entry[2] for entry in self._waiting)

    def is_stalled(self) -> bool:
        """Whether the client leaves answers unread."""
        return self._outbox.pending > 0

    @property
    def unread(self) -> int:
        """Bytes of answers that the client has not taken."""
        return self._outbox.pending + sum(len(entry[0]) for entry in self._waiting)

    def _next_writer(self) -> None:
        while self._waiting and self._writer is None:
            data, link, inside = self._waiting.popleft()
            self._outbox.send(data)
            if inside and link is not None:
                self._writer = link
                self._go_on(link)
        if not self._outbox.pending:
            self._drained()

    def _go_on(self, link: SlotLink) -> None:
        """Send what else waits of the link that has become the writer, to the end of its frame."""
        for entry in [entry for entry in self._waiting if entry[1] is link]:
            self._waiting.remove(entry)
            self._outbox.send(entry[0])
            if not entry[2]:
                self._writer = None
                return

    def _stall(self, link: SlotLink) -> None:
        link.outbox.pause()
        self._stalled.add(link)
        self.update_reading()

    def _drained(self) -> None:
        for link in self._stalled - {entry[1] for entry in self._waiting}:
            self._stalled.discard(link)
            link.outbox.resume()
        self.update_reading()

    def release(self, link: SlotLink) -> None:
        """`link` is done with its call for this client."""
        if self._stalled:
            self._stalled.discard(link)

    # End

    def on_error(self) -> None:
        """Something unexpected was raised while the client was read from or written to: nobody knows how far that got,
        so its connection and calls end. Other clients go on."""
        self.pool.arbiter.log.exception("Dirty arbiter: unexpected error; the connection of pid %s is closed", self.pid)
        self.close()
        self.pool.disown(self)

    def close(self) -> None:
        """The client is gone, or is to go: its calls are abandoned."""
        if self.closed:
            return
        self.closed = True
        self._outbox.detach()
        self._sock.close()
        self._waiting.clear()
        for call in list(self.calls.values()):
            self.pool.abandon(call)
        self.calls.clear()
        for watcher in list(self.watches.values()):
            self.pool.stash.forget(watcher)
        for link in self._stalled:
            link.outbox.resume()
        self._stalled.clear()
        self.pool.caller_gone(self)
