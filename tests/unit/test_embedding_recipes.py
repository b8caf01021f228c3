"""What recipes say about themselves before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien_server.embedding import Detector, EmbeddingOptions, EmbeddingService, catalogue, parameters
from mien_server.embedding.fingerprint import fingerprint
from mien_server.errors import NotFound

PARTS = {
    "weights_sha256": "a" * 64,
    "detector": "a detector",
    "orientation": "a rule",
    "alignment": "a chip",
    "preprocessing": "a scale",
}


def test_the_same_parts_have_the_same_fingerprint() -> None:
    """A fingerprint is the recipe's name and sixteen hex digits that depend on the parts alone."""
    first = fingerprint("dlib", **PARTS)
    assert first == fingerprint("dlib", **PARTS)
    name, digits = first.split("-")
    assert name == "dlib"
    assert len(digits) == 16
    int(digits, 16)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_every_part_changes_the_fingerprint(part: str) -> None:
    """Another weights file, detector, orientation rule, alignment or preprocessing is another model."""
    assert fingerprint("dlib", **{**PARTS, part: "another"}) != fingerprint("dlib", **PARTS)


def test_both_recipes_are_described(tmp_path: Path) -> None:
    """The service lists the recipes that ship; the default one is available and says what its landmarks forbid."""
    recipes = {recipe.name: recipe for recipe in EmbeddingService(EmbeddingOptions(cache_directory=tmp_path)).recipes()}
    assert sorted(recipes) == ["dlib", "facenet"]
    dlib = recipes["dlib"]
    assert (dlib.available, dlib.unavailable_reason, dlib.dimension) == (True, "", 128)
    assert any("commercial" in notice for notice in dlib.notices)
    assert 0.0 < dlib.minimum_quality < 1.0
    assert not recipes["facenet"].available
    assert recipes["facenet"].unavailable_reason


def test_an_unknown_recipe_is_not_found(tmp_path: Path) -> None:
    """A recipe that does not exist is refused, and the message lists those that do."""
    service = EmbeddingService(EmbeddingOptions(cache_directory=tmp_path))
    with pytest.raises(NotFound) as caught:
        service.analyse([b"x"], "arcface", embed=True)
    assert caught.value.reason == "RECIPE_NOT_FOUND"
    assert "dlib, facenet" in caught.value.message


def test_a_detector_that_is_not_installed_makes_the_recipe_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dlib recipe with MTCNN, where the extra is missing, says which command installs it."""
    monkeypatch.setattr(parameters, "facenet_extra_missing", lambda: "run: pip install 'mien[server,facenet]'")
    recipe = EmbeddingService(EmbeddingOptions(cache_directory=tmp_path, detector=Detector.MTCNN)).recipe("dlib")
    assert not recipe.available
    assert "pip install" in recipe.unavailable_reason


def test_a_recipe_that_changed_has_no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds measured for one detector are not handed on to another: a new fingerprint has no calibration."""
    monkeypatch.setattr(catalogue.parameters, "HOG_IDENTITY", "another detector")
    recipe = EmbeddingService(EmbeddingOptions(cache_directory=tmp_path)).recipe("dlib")
    assert recipe.available
    assert recipe.calibration is None
