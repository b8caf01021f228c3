"""SIGTERM and SIGINT, counted: the first asks the server to end well, the second to end now."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

__all__ = ["EndSignals"]


class EndSignals:
    """A context in which SIGTERM and SIGINT are counted instead of ending the process. For the main thread only.

    A pipe carries them, written by the interpreter's own C handler: the system may deliver a signal to any thread, and
    the Python handler runs only when the main thread does, which a `select` that nobody interrupts never lets it.
    """

    def __init__(self) -> None:
        self.count = 0
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._descriptor_before = -1
        self._before: dict[int, signal.Handlers | None] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)  # type: ignore[assignment]
        self._descriptor_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._descriptor_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the next signal; answers whether one came before the timeout."""
        ready, _, _ = select.select([self._reader], [], [], timeout_s)
        if ready:
            os.read(self._reader, 1)
        return bool(ready)
