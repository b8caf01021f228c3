"""The facenet recipe, with weights that the tests make: equal to facenet-pytorch, and helpful when it cannot work."""

from __future__ import annotations

import hashlib
import io
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien_server.embedding import (
    Detector,
    EmbeddingOptions,
    EmbeddingService,
    FacenetPreprocessing,
    FacenetWeights,
    facenet_weights,
    parameters,
)
from mien_server.embedding.analysis import Analyser
from mien_server.embedding.facenet_weights import PUBLISHED, LocatedWeights, PublishedFile, fetch_weights
from mien_server.embedding.loading import load_analyser
from mien_server.embedding.work import WorkKind
from mien_server.errors import Unavailable
from mien_server.records.faces import ImageAnalysis, ImageStatus

COSINE_MIN = 0.9999
KIND = WorkKind("facenet", "", embed=True, sixty_eight_landmarks=False, aligned_png=True)

pytestmark = pytest.mark.facenet


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict with random weights and, as in the published files, a classifier."""
    import facenet_pytorch
    import torch

    torch.manual_seed(7)
    network = facenet_pytorch.InceptionResnetV1(pretrained=None, classify=True, num_classes=5)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(network.state_dict(), path)
    return path


def options(weights: Path | None, **changed: Any) -> EmbeddingOptions:
    cache = weights.parent / "cache" if weights is not None else Path("no-such-cache")
    return EmbeddingOptions(
        **{"worker_count": 1, "facenet_weights_path": weights, "cache_directory": cache, "preloaded_recipes": ()}
        | changed
    )


def photographs(shared_data: Path) -> list[Path]:
    people = shared_data / "people"
    return [
        *sorted((people / "gallery").glob("*/*.jpg"))[::25],
        people / "awkward" / "landscape_no_face.jpg",
        people / "awkward" / "two_people.jpg",
    ]


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """As in a worker; and on a busy machine torch's threads mostly wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Reference:
    """facenet-pytorch used as its own README does, one picture at a time."""

    def __init__(self, weights: Path) -> None:
        import facenet_pytorch
        import torch

        self.network = facenet_pytorch.InceptionResnetV1(pretrained=None, classify=False).eval()
        state = torch.load(weights, weights_only=True)
        self.network.load_state_dict({name: value for name, value in state.items() if not name.startswith("logits.")})
        self.detectors = {raw: facenet_pytorch.MTCNN(keep_all=True, post_process=not raw) for raw in (False, True)}

    def embeddings(self, path: Path, *, per_image: bool) -> dict[tuple[int, int], Any]:
        """By the rounded corner of the face's box."""
        import torch
        from facenet_pytorch.models.mtcnn import prewhiten

        detector = self.detectors[per_image]
        with Image.open(path) as picture:
            upright = picture.convert("RGB")
        with torch.no_grad():
            boxes, _scores = detector.detect(upright)
            crops = detector(upright)
            if crops is None:
                return {}
            ready = torch.stack([prewhiten(crop) for crop in crops]) if per_image else crops
            vectors = self.network(ready).numpy()
        return {(round(box[0]), round(box[1])): vector for box, vector in zip(boxes, vectors, strict=True)}


@pytest.fixture(scope="module")
def reference(weights: Path) -> Reference:
    return Reference(weights)


@pytest.fixture(scope="module")
def analyser(weights: Path) -> Analyser:
    return load_analyser("facenet", options(weights))[0]


@pytest.mark.parametrize("preprocessing", list(FacenetPreprocessing))
def test_it_equals_facenet_pytorch(
    preprocessing: FacenetPreprocessing, weights: Path, reference: Reference, shared_data: Path
) -> None:
    """Faces and embeddings are those of facenet-pytorch called directly, for both ways of standardising."""
    analyser, _ = load_analyser("facenet", options(weights, facenet_preprocessing=preprocessing))
    paths = photographs(shared_data)
    answers = analyser.analyse([path.read_bytes() for path in paths], KIND)
    for path, answer in zip(paths, answers, strict=True):
        expected = reference.embeddings(path, per_image=preprocessing is FacenetPreprocessing.PER_IMAGE)
        assert answer.status is (ImageStatus.OK if expected else ImageStatus.NO_FACE)
        found = {(round(face.box.left), round(face.box.top)): face.embedding for face in answer.faces}
        assert found.keys() == expected.keys()
        for corner, vector in expected.items():
            embedding = found[corner]
            assert embedding is not None
            assert np.abs(embedding - vector).max() <= 1e-5


def test_a_batch_of_unequal_pictures_works(analyser: Analyser, shared_data: Path) -> None:
    """Pictures of several sizes, some without a face, some unreadable, share a batch, and each is as it is alone."""
    people = shared_data / "people"
    paths = [
        people / "group" / "multiface.jpg",
        people / "awkward" / "landscape_no_face.jpg",
        people / "awkward" / "truncated.jpg",
        people / "awkward" / "one_pixel.png",
        people / "awkward" / "rotated_90_no_exif.jpg",
        people / "awkward" / "grey16.png",
    ]
    contents = [path.read_bytes() for path in paths]
    together = analyser.analyse(contents, KIND)
    assert [len(answer.faces) for answer in together] == [6, 0, 0, 0, 1, 1]
    assert together[4].faces[0].rotation_degrees == 90
    for content, answer in zip(contents, together, strict=True):
        (alone,) = analyser.analyse([content], KIND)
        assert_same_embeddings(alone, answer)


def assert_same_embeddings(left: ImageAnalysis, right: ImageAnalysis) -> None:
    for mine, other in zip(left.faces, right.faces, strict=True):
        assert mine.embedding is not None
        assert other.embedding is not None
        assert mine.embedding.shape == (512,)
        assert float(mine.embedding @ other.embedding) >= COSINE_MIN


def test_it_works_through_the_workers(weights: Path, analyser: Analyser, shared_data: Path) -> None:
    """The service describes the recipe as available and answers the same embedding as the recipe in process."""
    content = photographs(shared_data)[0].read_bytes()
    with EmbeddingService(options(weights)) as service:
        recipe = service.recipe("facenet")
        assert (recipe.available, recipe.dimension) == (True, 512)
        assert recipe.calibration is None
        assert_same_embeddings(
            service.analyse([content], "facenet", embed=True)[0], analyser.analyse([content], KIND)[0]
        )


def test_mtcnn_serves_the_dlib_network_too(tmp_path: Path, shared_data: Path) -> None:
    """With MTCNN as its detector the dlib recipe has another fingerprint and recognises the same person."""
    contents = [path.read_bytes() for path in sorted((shared_data / "people/gallery/Naomi_Watts").glob("*.jpg"))[:2]]
    hog = EmbeddingOptions(cache_directory=tmp_path)
    mtcnn = EmbeddingOptions(cache_directory=tmp_path, detector=Detector.MTCNN)
    (hog_analyser, hog_print), (mtcnn_analyser, mtcnn_print) = load_analyser("dlib", hog), load_analyser("dlib", mtcnn)
    assert hog_print != mtcnn_print
    (by_hog, _), (by_mtcnn, other) = hog_analyser.analyse(contents, KIND), mtcnn_analyser.analyse(contents, KIND)
    vectors = [answer.faces[0].embedding for answer in (by_hog, by_mtcnn, other)]
    assert float(vectors[0] @ vectors[1]) > 0.98  # type: ignore[operator]
    assert float(vectors[1] @ vectors[2]) > 0.91  # type: ignore[operator]


def test_every_choice_changes_the_fingerprint(weights: Path) -> None:
    """Another weights file or another standardisation gives another fingerprint; the same choices the same one."""
    import torch

    other = weights.with_name("other.pt")
    torch.save({"only": torch.zeros(1)}, other)
    choices = [
        options(weights),
        options(weights),
        options(weights, facenet_preprocessing=FacenetPreprocessing.PER_IMAGE),
        options(other),
    ]
    prints = [EmbeddingService(choice).recipe("facenet").fingerprint for choice in choices]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert all(name.startswith("facenet-") for name in prints)


def unavailable_reason(choice: EmbeddingOptions) -> str:
    with EmbeddingService(choice) as service:
        recipe = service.recipe("facenet")
        assert not recipe.available
        with pytest.raises(Unavailable) as caught:
            service.analyse([b"GIF89a"], "facenet", embed=True)
        assert caught.value.reason == "RECIPE_UNAVAILABLE"
        assert caught.value.message == recipe.unavailable_reason
        return recipe.unavailable_reason


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    """Without weights the recipe names the file to download, where to put it and the option that names it."""
    reason = unavailable_reason(options(None, cache_directory=tmp_path))
    for part in ("https://github.com/timesler/facenet-pytorch/releases/", "--weights FILE", str(tmp_path / "weights")):
        assert part in reason


def test_a_weights_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A configured file that does not exist is named in the message."""
    assert "nowhere.pt" in unavailable_reason(options(tmp_path / "nowhere.pt"))


def test_weights_with_another_checksum_are_refused(weights: Path) -> None:
    """A file whose SHA-256 is not the one configured is not used."""
    assert "expected " + "0" * 64 in unavailable_reason(options(weights, facenet_weights_sha256="0" * 64))


def test_a_missing_extra_names_the_command(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch the recipe says which command installs it."""
    monkeypatch.setattr(parameters.importlib.util, "find_spec", lambda _name: None)
    assert "pip install 'mien[server,facenet]'" in unavailable_reason(options(weights))


@pytest.mark.parametrize("content", [b"no torch file", b"PK\x03\x04"])
def test_a_file_that_holds_no_weights_is_refused_by_the_worker(content: bytes, tmp_path: Path) -> None:
    """A file that is no state dict is reported by name as an unavailable recipe; nothing in it is executed."""
    path = tmp_path / "wrong.pt"
    path.write_bytes(content)
    with EmbeddingService(options(path)) as service, pytest.raises(Unavailable) as caught:
        service.analyse([b"GIF89a"], "facenet", embed=True)
    assert "wrong.pt" in caught.value.message


def test_weights_changed_under_the_server_are_refused(weights: Path, tmp_path: Path) -> None:
    """A worker that finds other weights than those the server described refuses to embed with them."""
    path = tmp_path / "weights.pt"
    path.write_bytes(weights.read_bytes())
    with EmbeddingService(options(path)) as service:
        assert service.recipe("facenet").available
        with path.open("ab") as file:
            file.write(b"\0")
        with pytest.raises(Unavailable) as caught:
            service.analyse([b"GIF89a"], "facenet", embed=True)
    assert caught.value.reason == "RECIPE_CHANGED"


class Release:
    """Stands for the release server, which no test may reach."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.addresses: list[str] = []

    def open(self, address: str, *, timeout: float, context: ssl.SSLContext) -> io.BytesIO:
        assert timeout > 0
        assert context.verify_mode is ssl.CERT_REQUIRED
        self.addresses.append(address)
        return io.BytesIO(self.content)


def test_weights_are_fetched_when_allowed(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fetching is allowed the published file is fetched over https once, checked, and used."""
    release = Release(weights.read_bytes())
    known = PublishedFile("published.pt", hashlib.sha256(release.content).hexdigest())
    monkeypatch.setitem(PUBLISHED, FacenetWeights.VGGFACE2, known)
    monkeypatch.setattr(urllib.request, "urlopen", release.open)
    choice = options(None, cache_directory=tmp_path, facenet_download_allowed=True)
    service = EmbeddingService(choice)
    assert service.recipe("facenet").available
    assert release.addresses == []
    assert service._ready_fingerprint("facenet") == service._ready_fingerprint("facenet")
    (address,) = release.addresses
    assert address.startswith("https://")
    assert (tmp_path / "weights" / "published.pt").read_bytes() == release.content


def test_a_fetched_file_that_differs_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download with another checksum, or one that fails, leaves nothing behind and says why."""
    monkeypatch.setattr(urllib.request, "urlopen", Release(b"something else").open)
    with pytest.raises(Unavailable) as caught:
        fetch_weights(LocatedWeights(tmp_path / "weights" / "file.pt", "0" * 64, present=False))
    assert "SHA-256" in caught.value.message
    assert list((tmp_path / "weights").iterdir()) == []


def test_a_release_that_cannot_be_reached_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network failure becomes an unavailable recipe whose message names the address and the way around."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(facenet_weights.urllib.request, "urlopen", refuse)
    with pytest.raises(Unavailable) as caught:
        fetch_weights(LocatedWeights(tmp_path / "weights" / "file.pt", "0" * 64, present=False))
    assert "no route" in caught.value.message
    assert "--weights FILE" in caught.value.message


def test_weights_without_a_known_checksum_are_not_fetched(tmp_path: Path) -> None:
    """A published file whose SHA-256 nobody stated is never fetched unchecked."""
    choice = options(
        None,
        cache_directory=tmp_path,
        facenet_download_allowed=True,
        facenet_weights=FacenetWeights.CASIA_WEBFACE,
    )
    assert "facenet_weights_sha256" in unavailable_reason(choice)
