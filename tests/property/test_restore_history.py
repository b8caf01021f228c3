"""Whatever is saved, restored and erased in whatever order: who was erased does not come back, nobody else is lost."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.engine_history import EngineHistory

FEW_PEOPLE = st.sampled_from(["p0", "p1", "p2", "ann"])
FEW_FACES = st.lists(st.integers(0, 12), min_size=1, max_size=3)
CHOICES = st.integers(0, 10**6)
SAVES_LEFT = 2


class RestoredHistory(EngineHistory):
    """The history of few people, who are enrolled, moved, saved, erased and restored far more often than searched."""

    search = None
    identify = None
    search_filtered = None
    wait_for_sealing = None
    rebuild = None

    @rule(identity_id=FEW_PEOPLE, waits=st.booleans())
    def erase_one(self, identity_id: str, waits: bool) -> None:
        self.erase(identity_id, waits)

    @rule(owners=st.lists(FEW_PEOPLE, min_size=1, max_size=4))
    def enroll_few(self, owners: list[str]) -> None:
        self.enroll(owners, False, 0)

    @rule(choices=FEW_FACES, receiver=FEW_PEOPLE)
    def move_few(self, choices: list[int], receiver: str) -> None:
        self.move_faces(choices, receiver, False)

    @precondition(lambda self: self.saves_left > 0)
    @rule()
    def save_more(self) -> None:
        self.save()

    @precondition(lambda self: bool(self.saved))
    @rule(choice=CHOICES, is_later=st.booleans())
    def restore_often(self, choice: int, is_later: bool) -> None:
        self.restore(choice, is_later)
        self.saves_left = max(self.saves_left, SAVES_LEFT)


RestoredHistory.TestCase.settings = settings(max_examples=12, stateful_step_count=40, deadline=None)
TestRestoredHistory = RestoredHistory.TestCase
