"""Calls that keep a core busy for long: a few at a time, in turn, so that short ones are answered between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mien_server.errors import Overloaded
from mien_server.records.deadline import Deadline
from mien_server.rpc.clients import Client
from mien_server.rpc.lanes import parked
from mien_server.rpc.turns import Turns

__all__ = ["LARGE_ENTRIES_MIN", "Turnstile"]

LARGE_ENTRIES_MIN = 10_000
"""Entries of an answer, or ten times the items of a request, from which on a call is large."""
DEADLINE_LOOK_INTERVAL_S = 0.25
RETRY_AFTER_S = 1.0


@dataclass(eq=False, slots=True)
class _Ticket:
    decided: threading.Event = field(default_factory=threading.Event)
    is_refused: bool = False


class Turnstile:
    """Lets large calls run, clients in turn. Safe for many threads.

    Args:
        running_max: at once.
        waiting_max: that may wait.
    """

    def __init__(self, running_max: int, waiting_max: int) -> None:
        self._waiting_max = waiting_max
        self._lock = threading.Lock()
        self._free_count = running_max
        self._turns: Turns[_Ticket] = Turns()

    @contextmanager
    def entered(self, entry_count: int, client: Client, deadline: Deadline) -> Iterator[None]:
        """Around the work of a call; passes at once where the call is not large.

        Raises:
            Overloaded: TOO_MANY_LARGE_CALLS.
            Cancelled, DeadlineExceeded: before its turn came.
        """
        if entry_count < LARGE_ENTRIES_MIN:
            yield
            return
        self._enter(client, deadline)
        try:
            yield
        finally:
            with self._lock:
                self._free_count += 1
                self._admit()

    def _enter(self, client: Client, deadline: Deadline) -> None:
        ticket = _Ticket()
        with self._lock:
            self._turns.add(client, ticket)
            self._admit()
            if len(self._turns) > self._waiting_max:
                _, crowded_out = self._turns.drop_newest()
                crowded_out.is_refused = True
                crowded_out.decided.set()
        try:
            self._wait(ticket, deadline)
        except BaseException:
            with self._lock:
                if not ticket.decided.is_set():
                    self._turns.remove(client, ticket)
                elif not ticket.is_refused:
                    self._free_count += 1
                    self._admit()
            raise
        if ticket.is_refused:
            raise Overloaded(
                f"{self._waiting_max} large calls wait; call again after the time in RetryInfo, or ask for less",
                retry_after_s=RETRY_AFTER_S,
                reason="TOO_MANY_LARGE_CALLS",
                metadata={"maximum": str(self._waiting_max)},
            )

    def _wait(self, ticket: _Ticket, deadline: Deadline) -> None:
        if ticket.decided.is_set():
            return
        with parked():
            while not ticket.decided.wait(min(DEADLINE_LOOK_INTERVAL_S, deadline.remaining_s())):
                deadline.check()

    def _admit(self) -> None:
        while self._free_count and (taken := self._turns.take(lambda _: True)) is not None:
            self._free_count -= 1
            taken[1].decided.set()
