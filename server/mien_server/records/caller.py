"""On whose behalf the work of this thread is done, for queues that are fair between callers."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["CALLER"]

CALLER: ContextVar[str] = ContextVar("CALLER", default="")
"""A caller's name; empty for the process itself, a notebook's say."""
