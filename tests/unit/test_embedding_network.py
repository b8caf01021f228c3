"""dlib's recognition network as read from its file, written as ONNX and run by ONNX Runtime."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import dlib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mien_server.embedding import dlib_files
from mien_server.embedding.alignment import DlibAligner
from mien_server.embedding.dlib_embedder import DlibEmbedder
from mien_server.embedding.dlib_files import RECOGNITION_NETWORK, RECOGNITION_NETWORK_SHA256, model_file
from mien_server.embedding.dlib_graph import graph_file
from mien_server.embedding.dlib_weights import Affine, Convolution, read_network
from mien_server.embedding.embedders import unit_rows
from mien_server.embedding.hog import HogFinder
from mien_server.errors import InternalError, Unavailable

DIFFERENCE_MAX = 1e-5
COSINE_MIN = 0.9999


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def embedder(cache: Path) -> DlibEmbedder:
    return DlibEmbedder(cache)


def noise(count: int) -> npt.NDArray[np.uint8]:
    """Chips of smooth noise: no faces, but every layer sees values of the usual size."""
    coarse = np.random.default_rng(3).integers(0, 256, (count, 10, 10, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(chip).resize((150, 150))) for chip in coarse])


def by_dlib(chips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    network = dlib.face_recognition_model_v1(str(model_file(RECOGNITION_NETWORK)))
    return np.array([network.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in chips])


def test_the_file_holds_twenty_nine_convolutions() -> None:
    """The weights file is read to its last byte: 29 convolutions, each followed by an affine layer."""
    network = read_network(model_file(RECOGNITION_NETWORK))
    convolutions = [place for place, layer in enumerate(network.layers) if isinstance(layer, Convolution)]
    assert len(convolutions) == 29
    assert all(isinstance(network.layers[place + 1], Affine) for place in convolutions)
    assert network.size_px == 150
    assert network.channel_means == pytest.approx((122.782, 117.001, 104.298), abs=1e-4)


def test_it_equals_dlib_on_any_pixels(embedder: DlibEmbedder) -> None:
    """On chips of noise ONNX Runtime gives dlib's own descriptors to 1e-5."""
    chips = noise(3)
    assert np.abs(embedder.descriptors(chips) - by_dlib(chips)).max() <= DIFFERENCE_MAX


def test_it_equals_dlib_on_real_faces(embedder: DlibEmbedder, shared_data: Path) -> None:
    """On aligned chips of real photographs ONNX Runtime gives dlib's own descriptors to 1e-5."""
    finder, aligner, chips = HogFinder(), DlibAligner(), []
    for path in sorted((shared_data / "people" / "gallery").glob("*/*.jpg"))[::10]:
        with Image.open(path) as picture:
            pixels = np.array(picture.convert("RGB"))
        chips += [aligner.align(pixels, face).chip for face in finder.find(pixels)]
    assert len(chips) >= 4
    assert np.abs(embedder.descriptors(np.stack(chips)) - by_dlib(np.stack(chips))).max() <= DIFFERENCE_MAX


def test_a_batch_gives_what_one_chip_gives(embedder: DlibEmbedder) -> None:
    """An embedding is the same (cosine >= 0.9999) alone and in a batch, and has unit norm."""
    chips = noise(7)
    together = embedder.embed(chips)
    alone = np.concatenate([embedder.embed(chips[row : row + 1]) for row in range(len(chips))])
    assert np.einsum("ij,ij->i", together, alone).min() >= COSINE_MIN
    assert np.abs(np.linalg.norm(together.astype(np.float64), axis=1) - 1).max() <= 1e-6


def test_the_graph_is_written_once(cache: Path, embedder: DlibEmbedder) -> None:
    """A second use takes the graph from the cache, which holds the graph and its checksum and nothing else."""
    assert embedder is not None
    path = graph_file(cache)
    written = path.stat().st_mtime_ns
    assert graph_file(cache).stat().st_mtime_ns == written
    assert len(list(path.parent.iterdir())) == 2


def test_a_damaged_graph_is_written_again(tmp_path: Path) -> None:
    """A graph in the cache that is not what was written is replaced before it is used."""
    path = graph_file(tmp_path)
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:1000])
    assert hashlib.sha256(graph_file(tmp_path).read_bytes()).hexdigest() == whole


def test_the_graph_can_be_written_by_many_at_once(tmp_path: Path) -> None:
    """Several writers at the same moment leave one whole graph and no remains."""
    threads = [threading.Thread(target=graph_file, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = graph_file(tmp_path)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, path.name + ".sha256"]


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A cache path that is a file gives CACHE_NOT_WRITABLE and names the path."""
    (tmp_path / "networks").write_text("a file where a folder should be")
    with pytest.raises(Unavailable) as caught:
        graph_file(tmp_path)
    assert caught.value.reason == "CACHE_NOT_WRITABLE"
    assert str(tmp_path) in caught.value.message


def test_the_weights_are_the_known_ones() -> None:
    """The installed weights have the SHA-256 that the fingerprint names."""
    content = model_file(RECOGNITION_NETWORK).read_bytes()
    assert hashlib.sha256(content).hexdigest() == RECOGNITION_NETWORK_SHA256


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weights file with another checksum makes the recipe unavailable and says how to get the right one."""
    monkeypatch.setitem(dlib_files.KNOWN_SHA256, RECOGNITION_NETWORK, "0" * 64)
    with pytest.raises(Unavailable) as caught:
        model_file(RECOGNITION_NETWORK)
    assert caught.value.reason == "RECIPE_UNAVAILABLE"
    assert "face-recognition-models==" in caught.value.message


@pytest.mark.parametrize("kept", [0, 5, 40, 300, 19_300, 1_000_000])
def test_a_cut_off_weights_file_is_refused(kept: int, tmp_path: Path) -> None:
    """A weights file that ends early anywhere is refused by name, never read as something else."""
    path = tmp_path / "weights.dat"
    path.write_bytes(model_file(RECOGNITION_NETWORK).read_bytes()[:kept])
    with pytest.raises(Unavailable) as caught:
        read_network(path)
    assert "weights.dat" in caught.value.message


@pytest.mark.parametrize("position", [0, 3, 40, 310, 345, 350])
def test_a_changed_weights_file_is_refused(position: int, tmp_path: Path) -> None:
    """A weights file with another byte in its structure is refused."""
    content = bytearray(model_file(RECOGNITION_NETWORK).read_bytes())
    content[position] ^= 0x55
    path = tmp_path / "weights.dat"
    path.write_bytes(content)
    with pytest.raises(Unavailable):
        read_network(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_vector_without_direction_is_an_error(bad: float) -> None:
    """Network output that is not finite, or all zero, is never passed off as an embedding."""
    with pytest.raises(InternalError):
        unit_rows(np.array([[1.0, 2.0], [bad, bad]], dtype=np.float32))
