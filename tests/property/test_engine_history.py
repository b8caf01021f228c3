"""Store, index and reopening, in whatever order: see `tests.engine_history`."""

from __future__ import annotations

from hypothesis import settings

from tests.engine_history import EngineHistory

EngineHistory.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
TestEngineHistory = EngineHistory.TestCase
