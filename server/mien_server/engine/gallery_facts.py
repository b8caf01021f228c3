"""What follows from a gallery's record and counts, worked out once for as long as they stay as they are."""

from __future__ import annotations

from mien_server.embedding import Calibration
from mien_server.engine.decisions import identification_threshold
from mien_server.engine.translation import decision_policy_of
from mien_server.engine.types import Threshold
from mien_server.index import EffortChoice
from mien_server.records.policies import DecisionPolicy, IdentityScoring
from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord
from mien_server.storage import GalleryView

__all__ = ["FactsOfGalleries", "GalleryFacts"]

RECALL_AT_10_DEFAULT = 0.99
"""Share of exact search's ten nearest faces that a search which names no effort should find: it asks for neighbours,
where identification asks for the one right person."""

GALLERIES_REMEMBERED_MAX = 1024


class GalleryFacts:
    """One gallery's policies as the engine uses them, and the threshold that they give.

    Attributes:
        decision_policy: the gallery's.
        person_effort: how hard to look for the one right person where a call does not say.
        neighbor_effort: likewise for neighbours.
    """

    __slots__ = ("_record", "_threshold", "counts", "decision_policy", "neighbor_effort", "person_effort")

    def __init__(self, record: GalleryRecord, counts: GalleryCounts) -> None:
        self._record = record
        self.counts = counts
        self.decision_policy = decision_policy_of(record.decision_policy)
        # Rounded to six digits because the schema keeps float32; 0 was never set.
        target = round(record.index_policy.default_recall_target, 6) or None
        self.person_effort = EffortChoice(recall_target=target)
        self.neighbor_effort = EffortChoice(recall_target=target, recall_at_10_min=RECALL_AT_10_DEFAULT)
        self._threshold: tuple[Calibration | None, Threshold] | None = None

    def are_of(self, record: GalleryRecord, counts: GalleryCounts) -> bool:
        """Whether they follow from these very objects, which nobody changes."""
        return self._record is record and self.counts is counts

    def threshold(self, calibration: Calibration | None, requested: DecisionPolicy | None) -> Threshold:
        """The threshold of an identification in this gallery; a request's policy replaces the gallery's as a whole.

        Raises:
            PreconditionFailed: NO_THRESHOLD.
        """
        if requested is not None:
            # A threshold made for one scoring does not fit another: nothing of the gallery's policy remains.
            return self._threshold_of(calibration, requested, DecisionPolicy())
        known = self._threshold
        if known is None or known[0] is not calibration:
            known = self._threshold = (calibration, self._threshold_of(calibration, None, self.decision_policy))
        return known[1]

    def _threshold_of(
        self, calibration: Calibration | None, requested: DecisionPolicy | None, gallery: DecisionPolicy
    ) -> Threshold:
        is_by_template = (requested or gallery).scoring is IdentityScoring.TEMPLATE_MEAN
        counted = "identities" if is_by_template else "faces"
        comparisons = self.counts.identity_count if is_by_template else self.counts.face_count
        return identification_threshold(requested, gallery, calibration, comparisons, counted)


class FactsOfGalleries:
    """The facts of each gallery that was asked for last. Safe from many threads: what two work out is the same."""

    def __init__(self) -> None:
        self._by_number: dict[int, GalleryFacts] = {}

    def of(self, gallery: GalleryView) -> GalleryFacts:
        """The facts of a gallery as the view shows it."""
        record, counts = gallery.record, gallery.counts
        known = self._by_number.get(gallery.number)
        if known is None or not known.are_of(record, counts):
            if len(self._by_number) >= GALLERIES_REMEMBERED_MAX:
                # Numbers of deleted galleries are never used again.
                self._by_number.clear()
            known = self._by_number[gallery.number] = GalleryFacts(record, counts)
        return known
