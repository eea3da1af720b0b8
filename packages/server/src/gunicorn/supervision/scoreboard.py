"""The scoreboard: one anonymous shared mapping, made by the master before it forks, with a slot per worker.

A worker writes its own slot only; the master, metrics and control read all of them. Each field is eight bytes, aligned,
and stored by one machine store, so a reader never sees half a value and nobody takes a lock. The hot path writes
through ``slot.q`` (integers) and ``slot.d`` (floats), indexed by the constants below: one store is one bytecode.
"""

import heapq
import mmap
from enum import IntEnum

# Indices of the fields, in eight byte units, for slot.q and slot.d.
PID = 0  # q
AGE = 1  # q   the worker's serial number in this master
STATE = 2  # q   a WorkerState
STARTED = 3  # d   time.monotonic() of the fork
HEARTBEAT = 4  # d   time.monotonic() of the last notify()
REQUESTS = 5  # q   requests answered
CONNECTIONS = 6  # q   connections open now
ERRORS = 7  # q   requests that ended in an error of the server or the application
BUSY_SINCE = 8  # d   time.monotonic() when the request that runs began, 0.0 when idle
RETIRING = 9  # q   1 when the worker still serves, but will stop soon, and its replacement may be started
CURRENT = 11  # the text of what runs now: CURRENT_SIZE bytes of UTF-8, filled with NUL

FIELD_SIZE = 8
CURRENT_SIZE = 104
SLOT_SIZE = 192  # three cache lines, so that workers on two cores never write to the same line
_CURRENT_OFFSET = CURRENT * FIELD_SIZE


class WorkerState(IntEnum):
    """What a worker does, as its slot says."""

    BOOTING = 0
    IDLE = 1
    BUSY = 2
    DRAINING = 3


class ScoreboardSlot:
    """One worker's part of the scoreboard."""

    __slots__ = ("d", "index", "q", "text")

    def __init__(self, index: int, area: memoryview) -> None:
        self.index = index
        self.q = area.cast("q")  # native byte order, eight bytes
        self.d = area.cast("d")
        self.text = area[_CURRENT_OFFSET : _CURRENT_OFFSET + CURRENT_SIZE]

    @property
    def pid(self) -> int:
        return int(self.q[PID])

    @pid.setter
    def pid(self, value: int) -> None:
        self.q[PID] = value

    @property
    def age(self) -> int:
        return int(self.q[AGE])

    @age.setter
    def age(self, value: int) -> None:
        self.q[AGE] = value

    @property
    def state(self) -> WorkerState:
        return WorkerState(self.q[STATE])

    @state.setter
    def state(self, value: WorkerState) -> None:
        self.q[STATE] = value

    @property
    def started(self) -> float:
        return float(self.d[STARTED])

    @started.setter
    def started(self, value: float) -> None:
        self.d[STARTED] = value

    @property
    def heartbeat(self) -> float:
        return float(self.d[HEARTBEAT])

    @heartbeat.setter
    def heartbeat(self, value: float) -> None:
        self.d[HEARTBEAT] = value

    @property
    def requests(self) -> int:
        return int(self.q[REQUESTS])

    @requests.setter
    def requests(self, value: int) -> None:
        self.q[REQUESTS] = value

    @property
    def connections(self) -> int:
        return int(self.q[CONNECTIONS])

    @connections.setter
    def connections(self, value: int) -> None:
        self.q[CONNECTIONS] = value

    @property
    def errors(self) -> int:
        return int(self.q[ERRORS])

    @errors.setter
    def errors(self, value: int) -> None:
        self.q[ERRORS] = value

    @property
    def busy_since(self) -> float:
        return float(self.d[BUSY_SINCE])

    @busy_since.setter
    def busy_since(self, value: float) -> None:
        self.d[BUSY_SINCE] = value

    @property
    def retiring(self) -> bool:
        return bool(self.q[RETIRING])

    @retiring.setter
    def retiring(self, value: bool) -> None:
        self.q[RETIRING] = value

    @property
    def current(self) -> str:
        """What the worker runs now.

        Longer than one store: a reader may see a mix of two texts, never anything worse.
        """
        return self.text.tobytes().split(b"\0", 1)[0].decode("utf-8", "replace")

    @current.setter
    def current(self, text: str) -> None:
        self.text[:] = text.encode("utf-8", "replace")[:CURRENT_SIZE].ljust(CURRENT_SIZE, b"\0")

    def clear(self) -> None:
        """Set every field to zero."""
        for index in range(SLOT_SIZE // FIELD_SIZE):
            self.q[index] = 0

    def _release(self) -> None:
        self.q.release()
        self.d.release()
        self.text.release()


class Scoreboard:
    """All slots. The master makes one, hands slots to workers, and takes them back when they have ended."""

    def __init__(self, slots: int = 1024) -> None:
        self._map = mmap.mmap(-1, slots * SLOT_SIZE)
        area = memoryview(self._map)
        self._slots = [
            ScoreboardSlot(index, area[index * SLOT_SIZE : (index + 1) * SLOT_SIZE]) for index in range(slots)
        ]
        area.release()
        self._free = list(
            range(slots)
        )  # a heap: the lowest index first, so that replacements take the place of the dead
        self._used: set[int] = set()

    def __len__(self) -> int:
        """How many slots are taken."""
        return len(self._used)

    def acquire(self) -> ScoreboardSlot:
        """The free slot with the lowest index, all zero.

        :raises RuntimeError: when every slot is taken.
        """
        if not self._free:
            raise RuntimeError(f"all {len(self._slots)} scoreboard slots are taken; run fewer workers")
        index = heapq.heappop(self._free)
        self._used.add(index)
        slot = self._slots[index]
        slot.clear()
        return slot

    def release(self, slot: ScoreboardSlot) -> None:
        """Give a slot back. Its pid is zeroed, so that readers skip it.

        :raises ValueError: when the slot is not taken.
        """
        if slot.index not in self._used:
            raise ValueError(f"scoreboard slot {slot.index} is not taken")
        self._used.remove(slot.index)
        slot.pid = 0
        heapq.heappush(self._free, slot.index)

    def close(self) -> None:
        """Unmap. No slot may be used afterwards."""
        for slot in self._slots:
            slot._release()
        self._map.close()
