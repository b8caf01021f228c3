"""Real photographs through the embedding service, the awkward ones above all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien_server.config.limits import Limits
from mien_server.embedding import EmbeddingOptions, EmbeddingService
from mien_server.records.faces import FaceAnalysis, ImageAnalysis, ImageStatus

COSINE_MIN = 0.9999
REFUSED = {
    "tiny_20x20.jpg": ImageStatus.TOO_SMALL,
    "one_pixel.png": ImageStatus.TOO_SMALL,
    "truncated.jpg": ImageStatus.TRUNCATED,
    "text_named.jpg": ImageStatus.UNSUPPORTED_TYPE,
    "empty.jpg": ImageStatus.EMPTY,
    "landscape_no_face.jpg": ImageStatus.NO_FACE,
    "bomb_12000x9000.png": ImageStatus.TOO_MANY_PIXELS,
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingService]:
    with EmbeddingService(
        EmbeddingOptions(worker_count=1, cache_directory=tmp_path_factory.mktemp("cache"))
    ) as embedding_service:
        yield embedding_service


@pytest.fixture(scope="module")
def awkward(shared_data: Path) -> dict[str, dict[str, str]]:
    with (shared_data / "people/awkward/expected.csv").open(newline="", encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def answers(
    service: EmbeddingService, awkward: dict[str, dict[str, str]], shared_data: Path
) -> dict[str, ImageAnalysis]:
    """All awkward pictures in one request."""
    contents = [(shared_data / "people/awkward" / name).read_bytes() for name in awkward]
    return dict(zip(awkward, service.analyse(contents, "dlib", embed=True), strict=True))


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def embedding(face: FaceAnalysis) -> np.ndarray:
    assert face.embedding is not None
    assert face.embedding.shape == (128,)
    assert abs(float(np.linalg.norm(face.embedding)) - 1) < 1e-5
    return face.embedding


def person(service: EmbeddingService, shared_data: Path, name: str) -> np.ndarray:
    contents = [path.read_bytes() for path in sorted((shared_data / "people/gallery" / name).glob("*.jpg"))]
    return np.stack([embedding(answer.faces[0]) for answer in service.analyse(contents, "dlib", embed=True)])


def threshold(service: EmbeddingService) -> float:
    calibration = service.recipe("dlib").calibration
    assert calibration is not None
    return calibration.verification_threshold


def test_every_awkward_picture_has_its_status(
    answers: dict[str, ImageAnalysis], awkward: dict[str, dict[str, str]]
) -> None:
    """Each awkward picture decodes or is refused as its table says, with a message exactly when it is not OK."""
    for name, answer in answers.items():
        assert answer.status is REFUSED.get(name, ImageStatus.OK), name
        assert bool(answer.message) is (answer.status is not ImageStatus.OK), name
        expected = awkward[name]["faces"]
        if expected.isdigit():
            assert len(answer.faces) == int(expected), name


def test_every_awkward_face_is_the_person_it_shows(
    answers: dict[str, ImageAnalysis], service: EmbeddingService, shared_data: Path
) -> None:
    """The face of each awkward picture matches its person and nobody else of the gallery."""
    people = {path.name: person(service, shared_data, path.name) for path in (shared_data / "people/gallery").iterdir()}
    for name, answer in answers.items():
        names = []
        for face in answer.faces:
            best = {who: float((vectors @ embedding(face)).max()) for who, vectors in people.items()}
            names.append(max(best, key=lambda who: best[who]))
            assert max(best.values()) >= threshold(service), name
        assert names == (["Naomi_Watts", "Jackie_Chan"] if len(names) == 2 else ["Naomi_Watts"] * len(names)), name


def test_one_bad_picture_fails_no_other(
    answers: dict[str, ImageAnalysis], service: EmbeddingService, shared_data: Path
) -> None:
    """Each awkward picture sent alone is answered as it was among the others, its embedding to cosine 0.9999."""
    for name, together in answers.items():
        (alone,) = service.analyse([(shared_data / "people/awkward" / name).read_bytes()], "dlib", embed=True)
        assert (alone.status, alone.message, alone.sha256) == (together.status, together.message, together.sha256)
        for mine, other in zip(alone.faces, together.faces, strict=True):
            assert float(embedding(mine) @ embedding(other)) >= COSINE_MIN, name


def test_a_sideways_face_is_found_where_it_lies(answers: dict[str, ImageAnalysis]) -> None:
    """Without an orientation tag a sideways face is found by turning, and answered in the picture's own coordinates."""
    (face,) = answers["rotated_90_no_exif.jpg"].faces
    (upright,) = answers["png_named.jpg"].faces
    assert face.rotation_degrees == 90
    assert abs(face.quality.roll_degrees) == pytest.approx(90, abs=10)
    assert float(embedding(face) @ embedding(upright)) > 0.97
    centre = face.landmarks_five.mean(axis=0)
    assert face.box.left < centre[0] < face.box.left + face.box.width
    assert face.box.top < centre[1] < face.box.top + face.box.height


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_photograph_is_embedded_as_upright(degrees: int, service: EmbeddingService, shared_data: Path) -> None:
    """Photographs turned without a tag, upside down included, give nearly the embeddings of the upright ones."""
    paths = sorted((shared_data / "people/gallery").glob("*/*.jpg"))[::6]
    upright, turned = [], []
    for path in paths:
        with Image.open(path) as picture:
            upright.append(jpeg(picture.convert("RGB")))
            turned.append(jpeg(picture.convert("RGB").rotate(degrees, expand=True)))
    for mine, other in zip(
        service.analyse(upright, "dlib", embed=True), service.analyse(turned, "dlib", embed=True), strict=True
    ):
        assert other.faces[0].rotation_degrees == degrees
        assert float(embedding(mine.faces[0]) @ embedding(other.faces[0])) > 0.97


def test_every_face_of_a_group_is_answered(service: EmbeddingService, shared_data: Path) -> None:
    """All six faces of a group picture are found, largest first, each once."""
    (answer,) = service.analyse(
        [(shared_data / "people/group/multiface.jpg").read_bytes()], "dlib", embed=True, sixty_eight_landmarks=True
    )
    areas = [face.box.width * face.box.height for face in answer.faces]
    assert len(areas) == 6
    assert areas == sorted(areas, reverse=True)
    for face in answer.faces:
        assert face.landmarks_sixty_eight is not None
        assert face.landmarks_sixty_eight.shape == (68, 2)
        assert np.abs(face.landmarks_sixty_eight.mean(axis=0) - face.landmarks_five.mean(axis=0)).max() < 30


def test_no_more_faces_than_the_limit_are_answered(shared_data: Path, tmp_path: Path) -> None:
    """Of more faces than the limit the largest are answered."""
    choice = EmbeddingOptions(worker_count=1, cache_directory=tmp_path, limits=Limits(faces_per_image_max=2))
    with EmbeddingService(choice) as limited:
        (answer,) = limited.analyse([(shared_data / "people/group/multiface.jpg").read_bytes()], "dlib", embed=False)
    assert len(answer.faces) == 2


@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (250, 250), (60, 60)])
def test_a_face_is_found_at_any_working_size(
    width: int, height: int, service: EmbeddingService, shared_data: Path
) -> None:
    """A face of 120 pixels in 12 megapixels, of 105 in a small picture and of 25 is found where it is or not invented.

    Boxes come back in the picture's own coordinates, whatever size was searched.
    """
    with Image.open(shared_data / "people/awkward/png_named.jpg") as picture:
        portrait = picture.convert("RGB")
    canvas = Image.new("RGB", (width, height), (90, 110, 130))
    side = 290 if width > 1000 else min(width, 250)
    left, top = (width - side) // 3, (height - side) // 2
    canvas.paste(portrait.resize((side, side)), (left, top))
    (answer,) = service.analyse([jpeg(canvas)], "dlib", embed=False)
    if side < 100:
        assert len(answer.faces) <= 1
        return
    (face,) = answer.faces
    scale = side / 250
    centre = (face.box.left + face.box.width / 2, face.box.top + face.box.height / 2)
    assert centre == pytest.approx((left + 129 * scale, top + 141 * scale), abs=15 * scale)


def test_detection_alone_gives_no_embedding_and_a_chip_when_asked(service: EmbeddingService, shared_data: Path) -> None:
    """Without `embed` faces carry no embedding; the aligned chip is a PNG of 150 x 150, only when asked for."""
    content = (shared_data / "people/awkward/png_named.jpg").read_bytes()
    (answer,) = service.analyse([content], "dlib", embed=False, aligned_png=True)
    (face,) = answer.faces
    assert face.embedding is None
    assert face.aligned_png is not None
    with Image.open(io.BytesIO(face.aligned_png)) as chip:
        assert (chip.format, chip.size) == ("PNG", (150, 150))
    assert service.analyse([content], "dlib", embed=True)[0].faces[0].aligned_png is None


def test_a_blurred_or_small_face_scores_lower(service: EmbeddingService, shared_data: Path) -> None:
    """The same face blurred, darkened or scaled down is of lower quality than it was, with a reason."""
    with Image.open(shared_data / "people/gallery/Naomi_Watts/Naomi_Watts_0004.jpg") as picture:
        sharp = picture.convert("RGB")
    versions = [
        sharp,
        sharp.resize((60, 60)).resize(sharp.size),
        Image.fromarray((np.asarray(sharp) * 0.12).astype(np.uint8)),
        sharp.resize((110, 110)),
    ]
    faces = [answer.faces for answer in service.analyse([jpeg(version) for version in versions], "dlib", embed=False)]
    scores = [face[0].quality.score for face in faces if face]
    assert len(scores) >= 3
    assert scores[0] > max(scores[1:])
    assert all(face[0].quality.reasons for face in faces[1:3] if face)


def test_the_default_recipe_is_calibrated(service: EmbeddingService) -> None:
    """The recipe as it stands has a measured calibration, monotone, with at least 30 pairs beyond its last point."""
    recipe = service.recipe("dlib")
    assert recipe.available
    assert recipe.fingerprint.startswith("dlib-")
    calibration = recipe.calibration
    assert calibration is not None
    rates = [point.false_match_rate for point in calibration.points]
    similarities = [point.similarity for point in calibration.points]
    assert rates == sorted(rates, reverse=True)
    assert similarities == sorted(similarities)
    assert rates[-1] * calibration.impostor_pair_count >= 29.9
    assert similarities[0] < calibration.verification_threshold < similarities[-1]
    assert any("non-commercial" in notice or "excludes commercial" in notice for notice in recipe.notices)
