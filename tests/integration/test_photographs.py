"""The dlib recipe over gRPC on real photographs: ten people, three photographs each enrolled, two looked up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from mien_client import (
    Client,
    Decision,
    Duplicates,
    EnrolledIdentity,
    EnrollItem,
    EnrollmentPolicy,
    ImageStatus,
    MultipleFaces,
    ThresholdOrigin,
)
from mien_server.embedding import EmbeddingOptions, EmbeddingService
from tests.server_processes import ServerProcess
from tests.unit_rows import Rows

GALLERY = "people"
RECIPE = "dlib"
PERSON_COUNT = 10
ENROLLED_EACH = 3
NAMED_MIN = 18
"""Of the 20 photographs looked up."""
SAME_EMBEDDING_MIN = 0.9999
"""Cosine similarity of one photograph's embeddings, however they were made."""
VERIFIED_SHARE_MIN = 0.95


@dataclass(frozen=True)
class Photographs:
    """Photographs by person: those that are enrolled, and those that are looked up."""

    enrolled: dict[str, list[Path]]
    looked_up: dict[str, list[Path]]
    groups: list[Path]

    @property
    def items(self) -> list[EnrollItem]:
        """The enrolment of all; some show others in the background, so the largest face counts."""
        return [EnrollItem(person, image=path) for person, paths in self.enrolled.items() for path in paths]


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> Photographs:
    folders = sorted((shared_data / "people" / "gallery").iterdir())
    assert len(folders) == PERSON_COUNT
    paths = {folder.name: sorted(folder.iterdir()) for folder in folders}
    return Photographs(
        {person: of_person[:ENROLLED_EACH] for person, of_person in paths.items()},
        {person: of_person[ENROLLED_EACH:] for person, of_person in paths.items()},
        sorted((shared_data / "people" / "group").iterdir()),
    )


@pytest.fixture(scope="module")
def client(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server whose gallery has the largest face of every enrolled photograph."""
    with ServerProcess(tmp_path_factory.mktemp("photographs") / "store") as server, server.client() as client:
        client.create_gallery(GALLERY, recipe=RECIPE)
        policy = EnrollmentPolicy(multiple_faces=MultipleFaces.LARGEST)
        answer = client.enroll_faces(GALLERY, photographs.items, policy=policy)
        assert [outcome.error for outcome in answer.outcomes] == [None] * len(photographs.items)
        yield client


@pytest.fixture(scope="module")
def recipe_threshold(client: Client) -> float:
    """Similarity of "same person" that the recipe's calibration suggests."""
    [threshold] = [one.default_threshold for one in client.get_server_info().recipes if one.name == RECIPE]
    return threshold


def the_one_embedding(client: Client, paths: list[Path]) -> Rows:
    """The embedding of the largest face of each photograph, float32 [n, 128]."""
    vectors = []
    for found in client.embed_faces(paths, recipe=RECIPE).images:
        assert found.faces[0].embedding is not None
        vectors.append(found.faces[0].embedding)
    return np.stack(vectors)


def test_other_photographs_of_the_same_people_are_named(client: Client, photographs: Photographs) -> None:
    """At the default threshold at least 18 of 20 unseen photographs are named, and none gets a wrong name."""
    expected = [person for person, paths in photographs.looked_up.items() for _ in paths]
    answer = client.identify(GALLERY, images=[path for paths in photographs.looked_up.values() for path in paths])
    assert answer.threshold.origin is ThresholdOrigin.RECIPE_DEFAULT
    named = 0
    for person, found in zip(expected, answer.images, strict=True):
        names = {face.match.identity_id for face in found.faces if face.match is not None}
        assert names <= {person}, found.image.source
        named += person in names
        for face in found.faces:
            is_match = face.candidates[0].similarity >= answer.threshold.similarity
            assert (face.decision is Decision.MATCH) == is_match
    print(f"{named} of {len(expected)} photographs named at similarity {answer.threshold.similarity:.4f}")
    assert named >= NAMED_MIN


def test_every_face_of_a_group_photograph_is_answered(client: Client, photographs: Photographs) -> None:
    """A photograph of several people answers each face, the largest first, and names none of these strangers."""
    answer = client.identify(GALLERY, images=photographs.groups)
    for found in answer.images:
        assert len(found.image.faces) >= 3
        assert len(found.faces) == len(found.image.faces)
        sizes = [face.box.width * face.box.height for face in found.image.faces]
        assert sizes == sorted(sizes, reverse=True)
        for face in found.faces:
            assert face.decision is Decision.UNKNOWN
            assert face.candidates, "the nearest people are answered for UNKNOWN too"


def test_pairs_of_photographs_are_verified(client: Client, photographs: Photographs, recipe_threshold: float) -> None:
    """VerifyFaces tells two photographs of a person from those of two people, at the recipe's threshold."""
    pairs = [(paths[0], paths[1], True) for paths in photographs.looked_up.values()]
    firsts = [paths[0] for paths in photographs.enrolled.values()]
    pairs += [(left, right, False) for left, right in zip(firsts, firsts[1:] + firsts[:1], strict=True)]
    right_count = 0
    for left, right, is_same in pairs:
        answer = client.verify_faces(left, right, recipe=RECIPE)
        assert answer.threshold.similarity == pytest.approx(recipe_threshold)
        assert answer.is_same == (answer.similarity >= answer.threshold.similarity)
        right_count += answer.is_same == is_same
    print(f"{right_count} of {len(pairs)} pairs right")
    assert right_count >= VERIFIED_SHARE_MIN * len(pairs)


def test_a_photograph_is_verified_against_an_identity(client: Client, photographs: Photographs) -> None:
    """A photograph is the SAME as its own person of the gallery and DIFFERENT from another."""
    people = list(photographs.looked_up)
    for person, other in pairwise(people):
        photograph = photographs.looked_up[person][0]
        assert client.verify_faces(photograph, EnrolledIdentity(person), gallery=GALLERY).is_same
        assert not client.verify_faces(photograph, EnrolledIdentity(other), gallery=GALLERY).is_same


def test_one_photograph_has_one_embedding(client: Client, photographs: Photographs) -> None:
    """Alone, in a batch, over gRPC, as enrolled and from Python directly, a photograph's embedding is the same."""
    paths = [paths[0] for paths in photographs.enrolled.values()]
    in_a_batch = the_one_embedding(client, paths)
    alone = np.concatenate([the_one_embedding(client, [path]) for path in paths])
    with EmbeddingService(EmbeddingOptions(worker_count=1)) as service:
        service.start()
        analyses = service.analyse([path.read_bytes() for path in paths], RECIPE, embed=True)
        directly = np.stack([one.faces[0].embedding for one in analyses])
    enrolled = []
    for person, path in zip(photographs.enrolled, paths, strict=True):
        faces = client.list_faces(GALLERY, identity_id=person, include_embedding=True)
        [vector] = [face.embedding for face in faces if face.source == path.name]
        enrolled.append(vector)
    for one, other in combinations([in_a_batch, alone, directly, np.stack(enrolled)], 2):
        assert np.einsum("nd,nd->n", one, other).min() >= SAME_EMBEDDING_MIN
    assert np.allclose(np.linalg.norm(in_a_batch, axis=1), 1, atol=1e-6)


def test_a_photograph_enrolled_twice_is_a_duplicate(client: Client, photographs: Photographs) -> None:
    """By default the face already there is answered and nothing is added; REFUSE fails the item, ALLOW adds it."""
    person, paths = next(iter(photographs.enrolled.items()))
    item = EnrollItem(person, image=paths[0])
    count = client.get_gallery(GALLERY).face_count
    [there] = [face.id for face in client.list_faces(GALLERY, identity_id=person) if face.source == paths[0].name]

    [skipped] = client.enroll_faces(GALLERY, [item]).outcomes
    assert skipped.error is None
    assert skipped.duplicate
    assert [face.id for face in skipped.faces] == [there]
    assert client.get_gallery(GALLERY).face_count == count

    [refused] = client.enroll_faces(GALLERY, [item], policy=EnrollmentPolicy(duplicates=Duplicates.REFUSE)).outcomes
    assert refused.error is not None
    assert refused.error.reason == "FACE_DUPLICATE"
    assert client.get_gallery(GALLERY).face_count == count

    [allowed] = client.enroll_faces(GALLERY, [item], policy=EnrollmentPolicy(duplicates=Duplicates.ALLOW)).outcomes
    assert allowed.error is None
    assert not allowed.duplicate
    assert client.get_gallery(GALLERY).face_count == count + 1
    client.delete_faces(GALLERY, [allowed.faces[0].id])
    assert [face.id for face in client.list_faces(GALLERY, identity_id=person) if face.source == paths[0].name] == [
        there
    ]


def test_a_photograph_of_several_faces_is_refused_unless_told_otherwise(
    client: Client, photographs: Photographs
) -> None:
    """By default nobody is enrolled from a group photograph; LARGEST takes its largest face, ALL every one."""
    group = photographs.groups[0]
    [refused] = client.enroll_faces(GALLERY, [EnrollItem("a-group", image=group)]).outcomes
    assert refused.error is not None
    assert refused.error.reason == "MULTIPLE_FACES"
    assert refused.image_status is ImageStatus.OK
    assert len(refused.detected_faces) >= 3
    assert "a-group" not in {identity.id for identity in client.list_identities(GALLERY)}

    largest = EnrollmentPolicy(multiple_faces=MultipleFaces.LARGEST)
    [taken] = client.enroll_faces(GALLERY, [EnrollItem("a-group", image=group)], policy=largest).outcomes
    assert taken.error is None
    assert [face.box for face in taken.faces] == [taken.detected_faces[0].box]

    every = EnrollmentPolicy(multiple_faces=MultipleFaces.ALL)
    [taken] = client.enroll_faces(GALLERY, [EnrollItem("every-face", image=group)], policy=every).outcomes
    assert taken.error is None
    assert len(taken.faces) == len(taken.detected_faces) == len(refused.detected_faces)
    for identity_id in ("a-group", "every-face"):
        client.delete_identity(GALLERY, identity_id)
