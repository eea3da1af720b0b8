"""Keeps the workers: plans their seats, starts, replaces and stops their processes. Used by the arbiter.

A process that dies is replaced at once by one with the same number and apps. One that fails to load its apps is tried
again after a growing pause and given up after some attempts; that state stays visible until a reload.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .config import PoolConfig
from .errors import DirtyWorkerError
from .link import SlotLink
from .placement import AppLimit, Placement, PlacementError
from .probe import Probe
from .process import ProcessState, Seat, WorkerProcess
from .scheduler import Member

if TYPE_CHECKING:
    from .arbiter import DirtyArbiter

__all__ = ["Supervisor"]

_SHORTAGE = 1.0  # seconds to wait when there are no descriptors, processes or memory for a worker
_YOUNG = 1.0  # seconds; a worker that dies sooner after loading, without a call done, counts as failed to start


class Supervisor:
    """The workers of one arbiter.

    :ivar seats: by number
    :ivar processes: by pid, those that are on their way out included
    """

    def __init__(self, arbiter: DirtyArbiter) -> None:
        self.arbiter = arbiter
        self.log = arbiter.log
        self.placement = Placement((), 0)
        self.seats: dict[int, Seat] = {}
        self.processes: dict[int, WorkerProcess] = {}
        self._age = 0
        self._probe: Probe | None = None
        self._planning: Member | None = None  # holds waiting calls while nobody knows who will run them
        self._rolling: list[Seat] = []  # are still to be started anew by a reload
        self._stopping = False

    # Plan

    def start(self) -> None:
        """Plan and start the workers of the configuration. Calls may come from now on, and wait."""
        config = self.arbiter.config
        scheduler = self.arbiter.dispatcher.scheduler
        paths = [app.path for app in config.apps]
        stranded = scheduler.set_apps(paths)
        if self._planning is not None:
            scheduler.remove(self._planning)
        self._planning = Member(paths)
        scheduler.add(self._planning)
        self.arbiter.dispatcher.strand(stranded)
        unknown = [app.path for app in config.apps if app.workers is None]
        if self._probe is not None:
            self._probe.close()
            self._probe = None

        def done(learnt: dict[str, int | None]) -> None:
            self._probe = None
            self._carry_out([AppLimit(app.path, app.workers or learnt.get(app.path)) for app in config.apps])

        if not unknown:
            done({})
            return
        try:
            self._probe = Probe(self.arbiter, unknown, done)
        except OSError as exc:
            self.log.error("The dirty apps cannot be looked at: %s; next attempt in %g seconds", exc, _SHORTAGE)
            self.arbiter.loop.call_later(_SHORTAGE, self._start_again)

    def _start_again(self) -> None:
        if not self._stopping:
            self.start()

    def _carry_out(self, apps: list[AppLimit]) -> None:
        """Bring the seats to a new plan: new ones open, superfluous ones close, those that stay are filled anew in
        turn."""
        self.placement = Placement(apps, self.arbiter.config.workers)
        for number in [number for number in self.seats if number not in self.placement.plan]:
            self._close_seat(self.seats[number])
        self._rolling = list(self.seats.values())
        for number, paths in self.placement.plan.items():
            if number in self.seats:
                self.seats[number].apps = paths
            else:
                self._open_seat(number, paths)
        if self._planning is not None:
            _, stranded = self.arbiter.dispatcher.scheduler.remove(self._planning)
            self._planning = None
            self.arbiter.dispatcher.strand(stranded)
        self._roll()
        self.arbiter.judge()

    def _roll(self) -> None:
        """Start the next seat's new process; the old one serves until that is ready."""
        while self._rolling:
            seat = self._rolling.pop(0)
            if self.seats.get(seat.number) is not seat:
                continue
            if seat.retry is not None:
                seat.retry.cancel()
            seat.failures, seat.given_up = 0, False
            waiting = seat.member if seat.process is None else None
            self._fill(seat)
            if waiting is not None:
                self.arbiter.dispatcher.scheduler.remove(waiting)
            return

    def scale(self, delta: int) -> tuple[list[int], str]:
        """Add (`delta` over 0) or remove workers. Returns the numbers concerned, and why they are fewer than asked
        for."""
        numbers: list[int] = []
        reason = ""
        try:
            for _ in range(abs(delta)):
                number = self.placement.add() if delta > 0 else self.placement.remove()
                numbers.append(number)
                if delta > 0:
                    self._open_seat(number, self.placement.plan[number])
                else:
                    self._close_seat(self.seats[number])
        except PlacementError as exc:
            reason = str(exc)
        self.arbiter.judge()
        return numbers, reason

    # Seats

    def _open_seat(self, number: int, apps: tuple[str, ...]) -> None:
        seat = self.seats[number] = Seat(number, apps)
        self._fill(seat)

    def _close_seat(self, seat: Seat) -> None:
        del self.seats[seat.number]
        if seat.retry is not None:
            seat.retry.cancel()
        if seat.process is None and seat.member is not None:
            _, stranded = self.arbiter.dispatcher.scheduler.remove(seat.member)
            self.arbiter.dispatcher.strand(stranded)
        for process in list(self.processes.values()):
            if process.seat is seat:
                self._drain(process)

    def _fill(self, seat: Seat) -> None:
        """Calls may wait for the seat, and a process is started for it."""
        seat.member = Member(seat.apps)
        self.arbiter.dispatcher.scheduler.add(seat.member)
        self._spawn(seat)

    def _spawn(self, seat: Seat) -> None:
        assert seat.member is not None
        seat.retry = None
        try:
            process = WorkerProcess(self.arbiter, seat, seat.member, self._age + 1)
        except OSError as exc:
            seat.process = None
            seat.error = f"worker {seat.number} cannot be started: {exc}"
            self.log.error("%s; next attempt in %g seconds", seat.error, _SHORTAGE)
            seat.retry = self.arbiter.loop.call_later(_SHORTAGE, lambda: self._spawn(seat))
            return
        seat.process = process
        seat.restarts += 1
        self._age += 1
        self.processes[process.pid] = process
        self.log.info("Dirty worker %d (pid %d) loads %s", seat.number, process.pid, ", ".join(seat.apps))

    def _refill(self, process: WorkerProcess, how: str) -> None:
        """The seat's process is dead: start another one now, later, or no more."""
        seat = process.seat
        config = self.arbiter.config
        if process.ready_at is not None and (
            process.hung or process.calls_done or self.arbiter.loop.now - process.ready_at > _YOUNG
        ):
            seat.failures = 0
            self._spawn(seat)
            return
        seat.failures += 1
        seat.error = process.boot_error or f"worker {seat.number} died while it loaded its apps: {how}"
        if seat.failures < config.boot_attempts:
            pause = config.boot_delay * 2 ** (seat.failures - 1)
            self.log.error("%s; next attempt in %g seconds", seat.error, pause)
            seat.retry = self.arbiter.loop.call_later(pause, lambda: self._spawn(seat))
            return
        self._give_up(seat)

    def _give_up(self, seat: Seat) -> None:
        seat.given_up = True
        self.log.critical(
            "Dirty worker %d is given up after %d attempts: %s. Repair it and reload (HUP).",
            seat.number, seat.failures, seat.error,
        )  # fmt: skip
        assert seat.member is not None
        _, stranded = self.arbiter.dispatcher.scheduler.remove(seat.member)
        seat.member = None
        # After a failed reload the former process still serves.
        seat.process = next(
            (p for p in self.processes.values() if p.seat is seat and p.state is ProcessState.READY), None
        )
        self.arbiter.dispatcher.strand(stranded)
        self._roll()

    def why_not(self, app: str) -> str:
        """Why nobody serves the app, as far as known."""
        return next((seat.error for seat in self.seats.values() if app in seat.apps and seat.error), "")

    # What processes say and do

    def ready(self, process: WorkerProcess) -> None:
        """Its apps are loaded: calls may go there."""
        if process.state is not ProcessState.LOADING:
            return
        process.state = ProcessState.READY
        process.ready_at = self.arbiter.loop.now
        process.seat.error = ""
        self.log.info("Dirty worker %d (pid %d) is ready", process.number, process.pid)
        for slot in self.arbiter.dispatcher.scheduler.ready(process.member, process.links):
            assert isinstance(slot, SlotLink)
            self.arbiter.dispatcher.begin(slot)
        for old in list(self.processes.values()):
            if old.seat is process.seat and old is not process and old.state is not ProcessState.STOPPING:
                self._drain(old)
        self._roll()
        self.arbiter.judge()

    def leaving(self, process: WorkerProcess) -> None:
        """It was told from outside (SIGTERM) to end."""
        if process.state is ProcessState.LOADING:
            process.kill()
        elif process.state is ProcessState.READY:
            self._replace(process)

    def broken(self, process: WorkerProcess, reason: str) -> None:
        """It broke the protocol (`reason` says how) or closed a connection (no reason): it is of no more use."""
        if process.state is not ProcessState.STOPPING:
            if reason:
                self.log.error("Dirty worker %d (pid %d): %s; it is replaced", process.number, process.pid, reason)
            else:
                process.lost = True
            self._condemn(process)

    def hung(self, process: WorkerProcess) -> None:
        """It has a call that does not end: it goes when its other calls are done, and its replacement comes now."""
        process.hung = True
        if all(link.ending for link in process.busy):
            self._condemn(process)
        elif process.state is ProcessState.READY:
            self._replace(process)

    def _condemn(self, process: WorkerProcess) -> None:
        """It is of no more use: it gets no more calls, its seat waits for another, and it is killed."""
        self._vacate(process)
        self.arbiter.dispatcher.scheduler.drain(process.member)
        process.kill()

    def _vacate(self, process: WorkerProcess) -> None:
        """Calls may wait for the one that will take its seat, if there is to be one."""
        seat = process.seat
        if seat.process is process and self.seats.get(seat.number) is seat and not self._stopping:
            process.vacated = True
            seat.process = None
            seat.member = Member(seat.apps)
            self.arbiter.dispatcher.scheduler.add(seat.member)

    def _replace(self, process: WorkerProcess) -> None:
        seat = process.seat
        if seat.process is process and self.seats.get(seat.number) is seat and not self._stopping:
            self._fill(seat)
        self._drain(process)

    def _drain(self, process: WorkerProcess) -> None:
        if process.state is ProcessState.LOADING:
            process.kill()
        elif process.state is ProcessState.READY:
            process.state = ProcessState.DRAINING
            self.arbiter.dispatcher.scheduler.drain(process.member)
            process.kill_after(self.arbiter.config.graceful_timeout)
            self.settle(process)

    def settle(self, process: WorkerProcess) -> None:
        """Stop a draining process if nothing worth waiting for runs in it any more."""
        busy = process.busy
        if process.hung and all(link.ending for link in busy):
            self._condemn(process)
        elif not busy:
            process.stop(self.arbiter.config.graceful_timeout)

    # Deaths

    def reap(self) -> None:
        """Collect children that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self.processes.get(pid)
            if process is not None:
                self._died(process, os.waitstatus_to_exitcode(status))
            elif self.arbiter.snapshots is not None:
                self.arbiter.snapshots.child_exited(pid, os.waitstatus_to_exitcode(status))

    def _died(self, process: WorkerProcess, code: int) -> None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        expected = process.state is ProcessState.STOPPING and not process.lost
        process.state = ProcessState.STOPPING
        del self.processes[process.pid]
        # Before the dead one leaves the schedule, so that no waiting call is left without a home.
        self._vacate(process)
        error = f"dirty worker {process.number} (pid {process.pid}) died ({how}) while it ran the call"
        self.arbiter.dispatcher.lose(process, DirtyWorkerError(error, process.pid))
        process.close()
        log: Callable[..., Any] = self.log.info if expected else self.log.error
        log("Dirty worker %d (pid %d) ended with %s", process.number, process.pid, how)
        self.arbiter.hook("dirty_worker_exit", self.arbiter.config.worker_exit, self.arbiter, process)
        seat = process.seat
        if process.vacated and seat.process is None and self.seats.get(seat.number) is seat and not self._stopping:
            self._refill(process, how)
        self.arbiter.judge()
        if self._stopping:
            self.arbiter.stop_when_idle()

    # End

    def begin_stop(self) -> None:
        """Start nothing more; those that are loading end, the others go on with what they run."""
        self._stopping = True
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        scheduler = self.arbiter.dispatcher.scheduler
        for seat in self.seats.values():
            if seat.retry is not None:
                seat.retry.cancel()
            if seat.process is None and seat.member is not None:
                self.arbiter.dispatcher.strand(scheduler.remove(seat.member)[1])
        if self._planning is not None:
            self.arbiter.dispatcher.strand(scheduler.remove(self._planning)[1])
            self._planning = None
        for process in list(self.processes.values()):
            if process.state is ProcessState.LOADING:
                process.kill()

    def stop_all(self, grace: float) -> None:
        """Have all processes close their apps and exit, and kill them after `grace` seconds."""
        for process in list(self.processes.values()):
            process.stop(grace)

    def kill_all(self) -> None:
        """Kill and collect every child, at the end of the arbiter."""
        for process in self.processes.values():
            process.kill()
        for pid in list(self.processes):
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
        for process in list(self.processes.values()):
            process.close()
        self.processes.clear()

    def configure(self, config: PoolConfig) -> None:
        """Take over a new configuration: limits now, apps and code as the seats are filled anew."""
        self.arbiter.dispatcher.timeout = float(config.timeout)
        self.arbiter.dispatcher.cancel_grace = float(config.cancel_grace)
        self.arbiter.dispatcher.scheduler.queue_size = config.queue_size
        self.start()
