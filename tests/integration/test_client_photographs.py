"""The Python client against a real server, with real photographs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mien_client import (
    Client,
    ClientOptions,
    EnrollItem,
    EnrollmentPolicy,
    Image,
    ImageStatus,
    MultipleFaces,
    TlsOptions,
    Unavailable,
)
from tests.server_processes import ServerProcess


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of one server for the module."""
    folder = tmp_path_factory.mktemp("photographs")
    with ServerProcess(folder / "store") as process, Client(process.address) as connected:
        yield connected


@pytest.fixture
def photograph(shared_data: Path) -> Path:
    return shared_data / "people" / "gallery" / "Lucy_Liu" / "Lucy_Liu_0001.jpg"


def test_a_photograph_gives_the_same_embedding_however_it_comes(client: Client, photograph: Path) -> None:
    """As a path, as bytes, alone or among others: cosine at least 0.9999, unit norm, read as float32 [128]."""
    as_path = client.embed_faces([photograph]).images[0].faces[0].embedding
    batch = client.embed_faces([photograph.read_bytes(), Image.from_file(photograph)]).images
    assert as_path is not None
    assert (as_path.shape, as_path.dtype) == ((128,), np.float32)
    for image in batch:
        again = image.faces[0].embedding
        assert again is not None
        assert float(as_path @ again) >= 0.9999
        assert float(np.linalg.norm(again)) == pytest.approx(1, abs=1e-5)


def test_an_embedding_finds_the_face_enrolled_from_its_photograph(client: Client, photograph: Path) -> None:
    """What embed_faces gives can be looked up in a gallery of the same recipe."""
    client.create_gallery("lucy", recipe="dlib")
    outcome = client.enroll_faces("lucy", [EnrollItem("lucy", image=photograph)]).outcomes[0]
    assert outcome.image_status is ImageStatus.OK
    assert outcome.faces[0].source == photograph.name
    embedding = client.embed_faces([photograph]).images[0].faces[0].embedding
    assert embedding is not None
    nearest = client.search_faces("lucy", embeddings=embedding, k=1).embeddings[0].neighbors[0]
    assert (nearest.identity_id, nearest.face_id) == ("lucy", outcome.faces[0].id)


def test_a_streamed_item_has_its_outcome(client: Client, photograph: Path, shared_data: Path) -> None:
    """Photographs stream in as items; each has its status, and the policy of the call counts."""
    client.create_gallery("streamed", recipe="dlib")
    two = shared_data / "people" / "awkward" / "two_people.jpg"
    largest = EnrollmentPolicy(multiple_faces=MultipleFaces.LARGEST)
    items = [EnrollItem("lucy", image=photograph), EnrollItem("naomi", image=two), EnrollItem("none", image=b"")]
    (ack,) = client.stream_enroll("streamed", [items], policy=largest)
    assert [outcome.image_status for outcome in ack.outcomes] == [
        ImageStatus.OK,
        ImageStatus.OK,
        ImageStatus.EMPTY,
    ]
    assert len(ack.outcomes[1].detected_faces) == 2
    assert ack.outcomes[2].error is not None
    assert ack.outcomes[2].error.reason == "IMAGE_EMPTY"
    assert ack.enrolled_count == 2


def test_chips_and_landmarks_come_when_asked_for(client: Client, photograph: Path) -> None:
    """The aligned chip is a PNG and the landmarks are arrays of points; without asking they are empty."""
    face = client.detect_faces([photograph], include_aligned_png=True, include_sixty_eight_landmarks=True)
    found = face.images[0].faces[0]
    assert found.aligned_png.startswith(b"\x89PNG")
    assert found.landmarks is not None
    assert found.landmarks.five.shape == (5, 2)
    assert found.landmarks.sixty_eight.shape == (68, 2)
    plain = client.detect_faces([photograph]).images[0].faces[0]
    assert plain.aligned_png == b""
    assert plain.landmarks is not None
    assert plain.landmarks.sixty_eight.shape == (0, 2)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for 127.0.0.1 that signs itself, and its key; skips without openssl."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no certificate can be made here: {error}")
    return folder


def test_an_encrypted_server_is_reached_with_its_authority_only(certificate: Path, tmp_path: Path) -> None:
    """With the server's authority calls succeed; in plaintext, or with the authorities of the web, none does."""
    settings = [
        f"tls.certificate_path={certificate / 'certificate.pem'}",
        f"tls.key_path={certificate / 'key.pem'}",
    ]
    authority = (certificate / "certificate.pem").read_bytes()
    with ServerProcess(tmp_path / "store", *settings) as process:
        with Client(process.address, ClientOptions(tls=TlsOptions(authority))) as trusted:
            assert trusted.get_server_info().version
        for tls in (None, TlsOptions()):
            options = ClientOptions(tls=tls, attempts_max=1, timeout_s=10)
            with Client(process.address, options) as distrusting, pytest.raises(Unavailable):
                distrusting.get_server_info()
