"""Made faces: blocks, orders."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.generators import BLOCK_ROWS, LONG_TAIL, LONG_TAIL_FACES_MAX, enrolment_order, face128


@pytest.mark.parametrize("faces_per_identity", [1, 3, LONG_TAIL])
def test_blocks_are_the_gallery_to_the_bit(faces_per_identity: int) -> None:
    """A gallery made in blocks holds the same faces, in the same order, as one made at once."""
    population = face128(seed=4)
    whole = population.gallery(BLOCK_ROWS + 500, faces_per_identity, shuffled=False)
    blocks = list(population.face_blocks(whole.identity_numbers))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate([block.vectors for block in blocks]), whole.vectors)
    assert np.array_equal(np.concatenate([block.identity_numbers for block in blocks]), whole.identity_numbers)


@pytest.mark.parametrize("faces_per_identity", [1, 5, LONG_TAIL])
def test_an_enrolment_order_has_the_rows_asked_for(faces_per_identity: int) -> None:
    """Everybody from person 0 on has at least one face, nobody more than wanted, and the rows are as many as asked."""
    numbers = enrolment_order(10_007, faces_per_identity)
    counts = np.bincount(numbers)
    assert numbers.size == 10_007
    assert counts.min() >= 1
    assert counts.max() <= (faces_per_identity or LONG_TAIL_FACES_MAX)


def test_the_faces_of_a_person_come_in_rounds() -> None:
    """Everybody's first face is enrolled before anybody's second."""
    numbers = enrolment_order(5_000, 5)
    assert np.array_equal(numbers[:1000], np.arange(1000))
    assert np.array_equal(numbers[1000:2000], np.arange(1000))
