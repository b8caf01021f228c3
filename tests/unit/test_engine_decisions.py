"""Thresholds: where they come from and how they follow a gallery's size."""

from __future__ import annotations

import numpy as np
import pytest

from mien_server.embedding import Calibration, CalibrationPoint
from mien_server.engine.decisions import distances, identification_threshold, verification_threshold
from mien_server.engine.types import ThresholdOrigin
from mien_server.errors import PreconditionFailed
from mien_server.records.policies import DecisionPolicy, DistanceMetric

NOTHING = DecisionPolicy()
CALIBRATION = Calibration(
    points=tuple(CalibrationPoint(rate, similarity) for rate, similarity in ((1e-1, 0.88), (1e-3, 0.92), (1e-5, 0.96))),
    verification_threshold=0.9,
    impostor_pair_count=10_000_000,
    genuine_pair_count=1_000,
    detail="a table made for this test",
)


def test_request_beats_gallery_and_gallery_beats_default() -> None:
    """The threshold is the request's, else the gallery's, else the recipe's, and says which."""
    requested, gallery = DecisionPolicy(similarity=0.5), DecisionPolicy(similarity=0.6)
    assert identification_threshold(requested, gallery, CALIBRATION, 10).origin is ThresholdOrigin.REQUEST
    second = identification_threshold(None, gallery, CALIBRATION, 10)
    assert (second.similarity, second.origin) == (0.6, ThresholdOrigin.GALLERY_POLICY)
    assert identification_threshold(None, NOTHING, CALIBRATION, 10).origin is ThresholdOrigin.RECIPE_DEFAULT


def test_target_fpir_rises_with_the_gallery() -> None:
    """The same FPIR among more comparisons needs a higher similarity: FMR = 1 - (1 - FPIR)^(1/N)."""
    policy = DecisionPolicy(target_fpir=0.01)
    found = [identification_threshold(policy, NOTHING, CALIBRATION, size).similarity for size in (1, 10, 100, 1000)]
    assert found == sorted(set(found))
    assert found[1] == pytest.approx(0.92, abs=1e-4)
    assert found[3] == pytest.approx(0.96, abs=1e-4)


def test_target_beyond_the_data_is_marked() -> None:
    """A rate below the table's last is extrapolated, and says so; one within is not."""
    assert identification_threshold(DecisionPolicy(target_fmr=1e-7), NOTHING, CALIBRATION, 1).extrapolated
    assert not identification_threshold(DecisionPolicy(target_fmr=1e-4), NOTHING, CALIBRATION, 1).extrapolated


@pytest.mark.parametrize("rate", [1e-300, 1e-320, 5e-324])
def test_the_smallest_rates_have_a_threshold(rate: float) -> None:
    """A target so small that its share for one comparison is no number any more gives the strictest threshold."""
    for policy in (DecisionPolicy(target_fpir=rate), DecisionPolicy(target_fmr=rate)):
        found = identification_threshold(policy, NOTHING, CALIBRATION, 10**9)
        assert found.extrapolated
        assert found.similarity == pytest.approx(0.9999)


def test_the_detail_names_what_was_counted() -> None:
    """The detail says among how many of what the rate of false positives holds."""
    policy = DecisionPolicy(target_fpir=0.01)
    assert "among 7 faces" in identification_threshold(policy, NOTHING, CALIBRATION, 7).detail
    for one in (policy, None):
        assert "among 7 identities" in identification_threshold(one, NOTHING, CALIBRATION, 7, "identities").detail


def test_default_is_never_below_one_comparisons_threshold() -> None:
    """In a gallery of one face the default of identification is that of verification."""
    assert identification_threshold(None, NOTHING, CALIBRATION, 1).similarity == pytest.approx(0.9, abs=1e-6)


def test_without_calibration_nothing_is_guessed() -> None:
    """Without a similarity and without a measurement both decisions are refused."""
    for policy in (None, DecisionPolicy(target_fpir=0.01), DecisionPolicy(target_fmr=0.01)):
        with pytest.raises(PreconditionFailed) as identification:
            identification_threshold(policy, NOTHING, None, 10)
        with pytest.raises(PreconditionFailed) as verification:
            verification_threshold(policy, NOTHING, None)
        assert identification.value.reason == verification.value.reason == "NO_THRESHOLD"


def test_verification_reads_fpir_as_fmr() -> None:
    """One comparison has N = 1, so a target FPIR is a target FMR."""
    by_fpir = verification_threshold(DecisionPolicy(target_fpir=1e-3), NOTHING, CALIBRATION)
    by_fmr = verification_threshold(DecisionPolicy(target_fmr=1e-3), NOTHING, CALIBRATION)
    assert by_fpir.similarity == by_fmr.similarity == pytest.approx(0.92)


def test_distances_of_unit_vectors() -> None:
    """Each metric is what the vectors themselves give."""
    random = np.random.default_rng(7)
    left, right = random.normal(size=(2, 50, 16)).astype(np.float32)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    cosines = np.einsum("ij,ij->i", left, right)
    direct = np.linalg.norm(left - right, axis=1)
    assert distances(cosines, DistanceMetric.UNSPECIFIED) is None
    np.testing.assert_allclose(distances(cosines, DistanceMetric.COSINE), 1 - cosines, atol=1e-6)
    np.testing.assert_allclose(distances(cosines, DistanceMetric.SQUARED_L2), direct**2, atol=1e-5)
    np.testing.assert_allclose(distances(cosines, DistanceMetric.EUCLIDEAN), direct, atol=1e-5)


@pytest.mark.parametrize("metric", [DistanceMetric.COSINE, DistanceMetric.SQUARED_L2, DistanceMetric.EUCLIDEAN])
def test_distances_keep_to_their_range(metric: DistanceMetric) -> None:
    """Rounded vectors can have similarities a little beyond 1; their distance is that of equal or opposite ones."""
    beyond, ends = np.array([1.0005, -1.0005], np.float32), np.array([1.0, -1.0], np.float32)
    np.testing.assert_array_equal(distances(beyond, metric), distances(ends, metric))
