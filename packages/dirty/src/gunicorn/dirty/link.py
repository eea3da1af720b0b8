"""The arbiter's end of a slot: the socketpair to one unit of concurrency of a worker. See call.py.

One request at a time goes in; the frames of its answer come out and are passed on with the client's id, checked to be
those of that request, so that no answer can reach another caller.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .call import ID, ID_OFFSET, READ_SIZE, PoolCall
from .loop import HANGUP, READ, WRITE, Timer
from .outbox import Outbox
from .scheduler import Member, Slot
from .wire import (
    CHUNK,
    END,
    ERROR,
    ERROR_HEAD,
    HEAD,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    RESPONSE,
    RESPONSE_HEAD,
    VERSION,
    write_deadline,
)

if TYPE_CHECKING:
    from .dispatch import Dispatcher
    from .errors import DirtyError
    from .process import WorkerProcess

__all__ = ["SlotLink"]

_PADDING = bytes(65536)


class SlotLink(Slot):
    """The arbiter's end of a slot: sends it one request at a time and passes its answer on.

    :ivar index: which of its worker's slots it is, from 0
    :ivar ending: the call was ended (timeout, caller gone); its answer is dropped and its worker is given a grace
        period
    :ivar failed: the frame at hand is an ERROR
    :ivar used: how many calls it has had
    """

    __slots__ = (
        "_answer_left", "_buffer", "_cut", "_grace", "_last", "_padding", "_parting", "_rest", "_sock",
        "closed", "ending", "failed", "index", "outbox", "pool", "process", "used",
    )  # fmt: skip

    def __init__(
        self,
        pool: Dispatcher,
        process: WorkerProcess,
        member: Member,
        index: int,
        sock: socket.socket,
        only: str | None = None,
    ) -> None:
        super().__init__(member, only)
        self.pool = pool
        self.process = process
        self.index = index
        self.ending = False
        self.used = 0
        self.failed = False
        self.closed = False
        self._sock = sock
        self._buffer = pool.buffer
        self._rest = b""
        self._answer_left = 0  # bytes of the current frame that are still to come from the worker
        self._last = False  # the current frame is the call's last
        self._cut = False  # to be ended at the end of the current frame, of which the client has had a part
        self._parting: DirtyError | None = None  # what it is told then
        self._padding = 0
        self._grace: Timer | None = None
        self.outbox = Outbox(pool.loop, sock, self._on_events, self._drained)

    # To the worker

    def start(self, call: PoolCall) -> None:
        """Send what came of the request while it waited. Its deadline becomes what is left of it."""
        for part in call.held or ():
            if call.limit is not None and isinstance(part, bytearray):
                write_deadline(call.route, part, HEADER_SIZE, call.limit - self.pool.loop.now)
            self.outbox.send(part)
        call.held = None
        if call.body_left and call.caller is not None:
            call.caller.update_reading()

    def _drained(self) -> None:
        if self._padding:
            self.pad()
            return
        call = self.call
        if isinstance(call, PoolCall) and call.body_left and call.caller is not None:
            call.caller.update_reading()

    @property
    def is_ending(self) -> bool:
        """Whether its call was ended and has only a bounded time from then on."""
        return self._grace is not None

    def end(self, call: PoolCall, error: DirtyError | None = None, patience: float | None = None) -> None:
        """Nobody wants the call's answer any more: drop what comes of it, tell the worker, keep the slot until it is
        done.

        A client that lives is told `error`. When it has had part of a frame, it gets the rest of that frame first; or,
        when that takes longer than `patience` seconds (None: as long as it takes), its connection is closed.
        """
        caller = call.caller
        if caller is not None:
            caller.forget(call)
            if not caller.closed and caller.is_inside_frame_of(self):
                self._cut = True
                self._parting = error
                if patience is not None:
                    self._grace = self.pool.loop.call_later(patience, lambda: self._cut_short(call))
                return
            caller.release(self)
            if error is not None:
                caller.send_error(call.caller_id, error)
        self._cut = False
        call.caller = None
        self.ending = True
        self._padding = call.body_left  # sent once the worker has said that it will not run the request
        call.body_left = 0
        self.outbox.resume()
        self.process.cancel(self.index, call.id, bool(self._padding))
        if self._grace is not None:
            self._grace.cancel()
        self._grace = self.pool.loop.call_later(self.pool.cancel_grace, lambda: self.pool.hung(self))

    def _cut_short(self, call: PoolCall) -> None:
        if self._cut and self.call is call and call.caller is not None:
            call.caller.close()
            self.end(call)

    def ended(self) -> None:
        """The call that was ended has come to its end."""
        self.ending = False
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def pad(self) -> None:
        """Complete the frame of a request that never came whole and that the worker has agreed not to run."""
        while self._padding and not self.outbox.pending and not self.outbox.broken:
            size = min(self._padding, len(_PADDING))
            self._padding -= size
            self.outbox.send(_PADDING[:size])

    # From the worker

    def _on_events(self, events: int) -> None:
        if events != READ or not self.outbox.reading:
            if events & WRITE:
                self.outbox.flush()
            if self.closed:
                return
            if not (events & READ and self.outbox.reading):
                if events & HANGUP:
                    self.lost()
                return
        self.read()

    def read(self) -> bool:
        """Read once and pass on. Returns False when there was nothing to read, or nothing will come any more."""
        rest = self._rest
        buffer = self._buffer
        try:
            end = buffer.fill(self._sock, rest) if rest else self._sock.recv_into(buffer.data, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            end = len(rest)
        if end == len(rest):
            self.lost()
            return False
        call: PoolCall | None = self.call  # type: ignore[assignment]
        if call is None:
            self.pool.worker_broken(self.process, f"slot {self.index} sent bytes without having a call")
            return False
        if end >= HEADER_SIZE and not rest and not self._answer_left and not self._cut:
            head, length, number = HEAD.unpack_from(buffer.data)
            if length == end - HEADER_SIZE and number == call.id and RESPONSE_HEAD <= head <= ERROR_HEAD:
                # One whole frame, and the only one: what nearly always comes.
                self.failed = head == ERROR_HEAD
                caller = call.caller
                if caller is not None:
                    ID.pack_into(buffer.data, ID_OFFSET, call.caller_id)
                    caller.deliver(self, buffer.first[end], False)
                self.pool.finished(self)
                return True
        before = self._answer_left
        pos, done = self._scan(buffer.data, end, call)
        if pos < 0:
            self.pool.worker_broken(self.process, f"slot {self.index} broke the protocol")
            return False
        if pos < end:
            self._rest = bytes(buffer.view[pos:end])
        elif rest:
            self._rest = b""
        caller = call.caller
        if caller is not None and pos:
            if self._cut:
                caller.deliver(self, buffer.view[: min(before, end)], end < before)
                if end >= before:
                    self._cut = False
                    if not done:
                        self.end(call, self._parting)
            else:
                caller.deliver(self, buffer.view[:pos], self._answer_left > 0)
        if done:
            self.pool.finished(self)
        elif self.pool.timeout:
            # Each part of an answer is a sign of life.
            deadline = self.pool.loop.now + self.pool.timeout
            call.deadline = deadline if call.limit is None or deadline < call.limit else call.limit
        return True

    def _scan(self, data: bytearray, end: int, call: PoolCall) -> tuple[int, bool]:
        """Walk over the frames, giving each header the client's id. Returns where whole headers end (-1: broken), and
        done."""
        pos = 0
        while True:
            left = self._answer_left
            if left:
                size = end - pos
                if size < left:
                    self._answer_left = left - size
                    return end, False
                pos += left
                self._answer_left = 0
            if self._last:
                self._last = False
                return (pos, True) if pos == end else (-1, False)
            if end - pos < HEADER_SIZE:
                return pos, False
            magic, version, kind, length, request_id = HEADER.unpack_from(data, pos)
            if magic != MAGIC or version != VERSION or request_id != call.id or not RESPONSE <= kind <= END:
                return -1, False
            ID.pack_into(data, pos + ID_OFFSET, call.caller_id)
            pos += HEADER_SIZE
            self._answer_left = length
            self._last = kind != CHUNK
            self.failed = kind == ERROR

    def on_error(self) -> None:
        """Something unexpected was raised while the slot was read from or written to: its client, which may have had
        part of an answer, and its worker go."""
        self.pool.arbiter.log.exception("Dirty arbiter: unexpected error in slot %d", self.index)
        self.outbox.detach()
        call = self.call
        if isinstance(call, PoolCall) and call.caller is not None:
            call.caller.close()
        self.pool.worker_broken(self.process, "its slot is of no more use")

    def lost(self) -> None:
        """The worker has closed its end: it is exiting or dead; its process's end settles the rest."""
        self.outbox.detach()
        self.pool.worker_broken(self.process, "")

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.ended()
            self.outbox.detach()
            self._sock.close()
