"""Concurrent identifications of one probe each, answered together where they ask for the same.

Threads that search at once in Python mostly wait for its one lock, and each call that comes out of FAISS waits anew: a
few callers win, the others wait long. So while such calls are under way, as many as keep the machine busy, others that
differ from them in nothing but the probe wait for an end, and are then answered by one search. Nobody waits who is
alone, and nobody waits for a call that asks for something else.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np

from mien_server.engine.context import EngineContext
from mien_server.engine.grouping import Line
from mien_server.engine.identification import CANDIDATES_DEFAULT, identify
from mien_server.engine.types import IdentificationAnswer, PackedEmbeddings, Probes, SearchChoices
from mien_server.engine.vectors import check_vectors
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy

__all__ = ["Combiner", "IdentifyCall"]

GROUPS_MAX = 2
"""With one search at a time a core is idle while the thread of the next one wakes; with many, calls are alone again."""
PROBES_PER_GROUP_MAX = 64
LOOK_AT_DEADLINE_S = 0.05
"""How often who waits looks whether its caller is still there."""


@dataclass(frozen=True, slots=True)
class IdentifyCall:
    """The arguments of an identification."""

    gallery: str
    probes: Probes
    candidate_count: int
    choices: SearchChoices
    policy: DecisionPolicy | None
    deadline: Deadline

    def kind(self) -> Hashable | None:
        """Equal for calls that may be answered together; None for one that is answered alone."""
        packed, choices = self.probes.embeddings, self.choices
        if packed is None or self.probes.images or packed.count > 1 or len(packed.data) != packed.dimension * 4:
            return None
        if choices.explain or choices.exact or choices.min_revision or not choices.filter.is_empty:
            return None
        if not _is_good(packed):
            return None
        effort = (choices.recall_target, choices.step, choices.min_similarity)
        embedding = (packed.dimension, packed.model, packed.normalize)
        return (self.gallery, self.candidate_count, effort, self.policy, embedding)


def _is_good(packed: PackedEmbeddings) -> bool:
    """Whether the one probe is a vector that can be compared; otherwise its caller alone is to hear of it."""
    raw = np.frombuffer(packed.data, dtype="<f4").reshape(1, -1)
    return raw.size > 0 and not check_vectors(raw, normalize=packed.normalize, field="probe").errors


class _Ticket:
    """One call in a line. Whoever serves its group fills in `answer` or `error`, then sets `is_called`."""

    __slots__ = ("answer", "call", "error", "group", "is_called")

    def __init__(self, call: IdentifyCall) -> None:
        self.call = call
        self.is_called = threading.Event()
        self.group: list[_Ticket] = []
        """Whom it is to serve, itself the first; empty when another one serves it."""
        self.answer: IdentificationAnswer | None = None
        self.error: Exception | None = None

    def result(self) -> IdentificationAnswer:
        """The answer, or whatever was raised instead."""
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer


class Combiner:
    """Answers identifications. Safe for many threads; each waits for its own answer.

    Args:
        groups_max: searches of one kind at a time.
    """

    def __init__(self, context: EngineContext, groups_max: int = GROUPS_MAX) -> None:
        self._context = context
        self._groups_max = groups_max
        self._lock = threading.Lock()
        self._lines: dict[Hashable, Line[_Ticket]] = {}

    @property
    def waiting_count(self) -> int:
        """Calls that wait now for others to end."""
        with self._lock:
            return sum(line.waiting_count for line in self._lines.values())

    def identify(self, call: IdentifyCall) -> IdentificationAnswer:
        """As `identification.identify`, as good as alone. What fails for a group is done again call by call."""
        kind = call.kind()
        if kind is None:
            return self._alone(call)
        ticket = _Ticket(call)
        with self._lock:
            line = self._lines.setdefault(kind, Line(self._groups_max))
            is_first = line.arrive(ticket)
        if not is_first:
            self._wait(line, ticket)
            if not ticket.group:
                return ticket.result()
        try:
            if len(ticket.group) <= 1:
                return self._alone(call)
            self._serve(ticket.group)
            call.deadline.check()
            return ticket.result()
        finally:
            self._call_next(kind, line, self._group_max(call))

    def _group_max(self, call: IdentifyCall) -> int:
        """Calls of this kind that together stay within the limits of one."""
        limits = self._context.limits
        candidates = call.candidate_count or CANDIDATES_DEFAULT
        fitting = min(limits.neighbors_per_request_max // candidates, limits.embeddings_per_request_max)
        return max(1, min(PROBES_PER_GROUP_MAX, fitting))

    def _alone(self, call: IdentifyCall) -> IdentificationAnswer:
        return identify(
            self._context, call.gallery, call.probes, call.candidate_count, call.choices, call.policy, call.deadline
        )

    def _wait(self, line: Line[_Ticket], ticket: _Ticket) -> None:
        """Until the ticket is called.

        Raises:
            Cancelled, DeadlineExceeded: there is nobody to wait for, and nobody waits for this caller.
        """
        deadline = ticket.call.deadline
        while not ticket.is_called.wait(deadline.remaining_s(LOOK_AT_DEADLINE_S)):
            try:
                deadline.check()
            except BaseException:
                with self._lock:
                    must_serve = not line.leave(ticket) and bool(ticket.group)
                if must_serve:
                    return
                raise

    def _serve(self, group: list[_Ticket]) -> None:
        """Answer the tickets by one search; where that fails one after the other, so that each meets its own error."""
        try:
            answer = self._alone(_joined([ticket.call for ticket in group]))
            for ticket, found in zip(group, answer.embeddings, strict=True):
                ticket.answer = replace(answer, embeddings=(found,))
        except Exception:  # noqa: BLE001 - whose it is will be seen
            for ticket in group:
                self._serve_alone(ticket)
        finally:
            for ticket in group[1:]:
                ticket.is_called.set()

    def _serve_alone(self, ticket: _Ticket) -> None:
        try:
            ticket.answer = self._alone(ticket.call)
        except Exception as error:  # noqa: BLE001 - raised where its caller waits
            ticket.error = error

    def _call_next(self, kind: Hashable, line: Line[_Ticket], count_max: int) -> None:
        with self._lock:
            group = line.next_group(count_max)
            if group:
                group[0].group = group
            elif line.is_empty:
                del self._lines[kind]
        if group:
            group[0].is_called.set()


def _joined(calls: list[IdentifyCall]) -> IdentifyCall:
    """One call for the probes of all, which may take as long as the most patient of them allows and anybody waits."""
    packed = [call.probes.embeddings for call in calls if call.probes.embeddings is not None]
    data = b"".join([one.data for one in packed])
    embeddings = PackedEmbeddings(data, packed[0].dimension, len(packed), packed[0].model, packed[0].normalize)
    ends_s = [call.deadline.at_s for call in calls if call.deadline.at_s is not None]
    last_s = max(ends_s) if len(ends_s) == len(calls) else None
    deadline = Deadline(last_s, lambda: all(call.deadline.is_cancelled() for call in calls))
    return replace(calls[0], probes=Probes(embeddings), deadline=deadline)
