"""The `mien` command against a real server and real photographs."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien_client import Client, EnrollItem
from mien_client.cli import exits
from mien_client.cli.main import main
from tests.server_processes import ServerProcess

PEOPLE = ("Halle_Berry", "Jackie_Chan", "Serena_Williams")
PHOTOGRAPHS_ENROLLED = 3

Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the module."""
    with ServerProcess(tmp_path_factory.mktemp("cli") / "store") as process:
        yield process


@pytest.fixture
def mien(running: ServerProcess, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with --json; gives its exit code, its document and what it said on standard error."""

    def run(*arguments: object) -> tuple[int, Any, str]:
        code = main(["--server", running.address, "--json", *map(str, arguments)])
        told = capsys.readouterr()
        return code, json.loads(told.out), told.err

    return run


@pytest.fixture
def say(running: ServerProcess, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command for people; gives what it said on standard output."""

    def run(*arguments: object) -> str:
        main([*map(str, arguments), "--server", running.address])
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one folder for each of three people, three photographs each."""
    folder = tmp_path_factory.mktemp("people")
    for person in PEOPLE:
        (folder / person).mkdir()
        for photograph in sorted((shared_data / "people" / "gallery" / person).iterdir())[:PHOTOGRAPHS_ENROLLED]:
            shutil.copy(photograph, folder / person)
    return folder


@pytest.fixture(scope="module")
def people(running: ServerProcess, folder: Path) -> str:
    """A gallery with the three people enrolled from their folder."""
    with Client(running.address) as client:
        client.create_gallery("enrolled", recipe="dlib")
        items = [
            EnrollItem(file.parent.name, image=file, identity_display_name=file.parent.name.replace("_", " "))
            for file in sorted(folder.rglob("*.jpg"))
        ]
        assert all(outcome.error is None for outcome in client.enroll_faces("enrolled", items).outcomes)
    return "enrolled"


def test_enrolling_a_folder_twice_adds_every_photograph_once(mien: Run, folder: Path) -> None:
    """The first run enrols every photograph of every person, the second counts each as already there."""
    mien("gallery", "create", "twice")
    code, first, _ = mien("enroll", folder, "--gallery", "twice")
    assert code == exits.DONE
    assert (first["enrolled"], first["already_there"], first["rejected"]) == (9, 0, [])
    assert first["identities_created"] == 3
    code, again, _ = mien("enroll", folder, "--gallery", "twice", "--jobs", 1)
    assert (code, again["enrolled"], again["already_there"]) == (exits.DONE, 0, 9)
    _, listed, _ = mien("list", "--gallery", "twice")
    assert [(one["id"], one["display_name"], one["face_count"]) for one in listed["identities"]] == [
        (person, person.replace("_", " "), 3) for person in PEOPLE
    ]
    _, faces, _ = mien("list", "faces", "--gallery", "twice", "--identity", PEOPLE[0])
    assert {Path(face["source"]).parent.name for face in faces["faces"]} == {PEOPLE[0]}


def test_every_rejected_file_is_reported_with_its_reason(mien: Run, shared_data: Path, tmp_path: Path) -> None:
    """Awkward files fail alone: the good ones are enrolled, each bad one has its reason in the document and the CSV."""
    awkward = shared_data / "people" / "awkward"
    mien("gallery", "create", "awkward")
    files = sorted(path for path in awkward.iterdir() if path.suffix != ".csv")
    code, report, _ = mien(
        "enroll",
        "--identity",
        "naomi",
        *files,
        tmp_path / "absent.jpg",
        "--gallery",
        "awkward",
        "--rejects",
        tmp_path / "rejects.csv",
    )
    assert code == exits.NOT_ALL
    reasons = {Path(one["file"]).name: one["reason"] for one in report["rejected"]}
    expected = {
        "absent.jpg": "UNREADABLE",
        "bomb_12000x9000.png": "IMAGE_TOO_MANY_PIXELS",
        "empty.jpg": "IMAGE_EMPTY",
        "landscape_no_face.jpg": "IMAGE_NO_FACE",
        "one_pixel.png": "IMAGE_TOO_SMALL",
        "text_named.jpg": "IMAGE_UNSUPPORTED_TYPE",
        "tiny_20x20.jpg": "IMAGE_TOO_SMALL",
        "truncated.jpg": "IMAGE_TRUNCATED",
        "two_people.jpg": "MULTIPLE_FACES",
    }
    # Whether a face that lies on its side is found is the detector's affair.
    assert {name: reasons[name] for name in reasons if name != "rotated_90_no_exif.jpg"} == expected
    assert report["enrolled"] + report["already_there"] + len(reasons) == len(files) + 1
    with (tmp_path / "rejects.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["file"]).name: row["reason"] for row in rows} == reasons
    assert all(row["message"] and row["identity_id"] == "naomi" for row in rows)


def test_other_photographs_are_named_and_drawn(mien: Run, people: str, shared_data: Path, tmp_path: Path) -> None:
    """People are identified in photographs that were not enrolled, and one annotated picture is written for each."""
    photographs = [
        sorted((shared_data / "people" / "gallery" / person).iterdir())[PHOTOGRAPHS_ENROLLED] for person in PEOPLE
    ]
    code, answer, _ = mien("identify", *photographs, "--gallery", people, "--annotate", tmp_path / "named")
    assert code == exits.DONE
    for person, photograph, found in zip(PEOPLE, photographs, answer["files"], strict=True):
        assert found["file"] == str(photograph)
        matches = [face["candidates"][0]["identity_id"] for face in found["faces"] if face["decision"] == "MATCH"]
        assert matches == [person]
        with Image.open(found["annotated"]) as drawn:
            assert max(drawn.size) >= 800


def test_a_stranger_is_unknown(mien: Run, people: str, shared_data: Path, tmp_path: Path) -> None:
    """Somebody who is not enrolled is UNKNOWN, and the nearest people are still listed."""
    stranger = shared_data / "people" / "gallery" / "Vicente_Fox" / "Vicente_Fox_0001.jpg"
    code, answer, _ = mien("identify", stranger, "--gallery", people, "--annotate", tmp_path / "out.png")
    assert code == exits.DONE
    assert [face["decision"] for face in answer["files"][0]["faces"]] == ["UNKNOWN"]
    assert answer["files"][0]["faces"][0]["candidates"]
    assert (tmp_path / "out.png").is_file()


def test_a_photograph_on_its_side_is_drawn_upright(mien: Run, people: str, shared_data: Path, tmp_path: Path) -> None:
    """The annotated picture has the upright size in which the server counts its boxes."""
    photograph = shared_data / "people" / "awkward" / "exif_orientation_6.jpg"
    _, answer, _ = mien("identify", photograph, "--gallery", people, "--annotate", tmp_path / "upright.png")
    found = answer["files"][0]
    with Image.open(tmp_path / "upright.png") as drawn:
        assert drawn.width * found["height"] == drawn.height * found["width"]


def test_unusable_files_are_told_and_the_rest_is_answered(mien: Run, people: str, shared_data: Path) -> None:
    """One damaged file makes the exit code 1 and nothing else; nobody in a picture is an answer."""
    awkward = shared_data / "people" / "awkward"
    code, answer, _ = mien(
        "identify",
        awkward / "empty.jpg",
        awkward / "landscape_no_face.jpg",
        awkward / "two_people.jpg",
        "--gallery",
        people,
    )
    assert code == exits.NOT_ALL
    assert [one["reason"] for one in answer["rejected"]] == ["IMAGE_EMPTY"]
    assert [one["status"] for one in answer["files"]] == ["EMPTY", "NO_FACE", "OK"]
    code, answer, _ = mien("identify", awkward / "landscape_no_face.jpg", "--gallery", people)
    assert (code, answer["files"][0]["faces"]) == (exits.DONE, [])


def test_verify_ends_with_0_for_the_same_person_only(mien: Run, people: str, folder: Path) -> None:
    """SAME is 0 and DIFFERENT is 1, so that a script can ask; an enrolled identity may be a side."""
    one, other = sorted((folder / "Jackie_Chan").iterdir())[:2]
    stranger = next((folder / "Halle_Berry").iterdir())
    code, same, _ = mien("verify", one, other)
    assert (code, same["decision"]) == (exits.DONE, "SAME")
    code, different, _ = mien("verify", one, stranger)
    assert (code, different["decision"]) == (exits.NOT_ALL, "DIFFERENT")
    assert mien("verify", one, "identity:Jackie_Chan", "--gallery", people)[0] == exits.DONE
    code, refused, told = mien("verify", one, "identity:nobody", "--gallery", people)
    assert (code, refused["error"]["reason"]) == (exits.REFUSED, "IDENTITY_NOT_FOUND")
    assert "mien list identities" in told


def test_a_side_without_a_face_is_named_by_its_file(mien: Run, people: str, shared_data: Path, folder: Path) -> None:
    """The message names the file that cannot be compared, not the request's field."""
    landscape = shared_data / "people" / "awkward" / "landscape_no_face.jpg"
    code, refused, _ = mien("verify", next((folder / "Halle_Berry").iterdir()), landscape, "--gallery", people)
    assert (code, refused["error"]["reason"]) == (exits.REFUSED, "IMAGE_NO_FACE")
    assert refused["error"]["message"].startswith(f"{landscape}: ")


def test_search_lists_the_nearest_faces(mien: Run, say: Callable[..., str], people: str, folder: Path) -> None:
    """The nearest face to an enrolled photograph is its own; the table names it."""
    photograph = next((folder / "Serena_Williams").iterdir())
    code, answer, _ = mien("search", photograph, "--gallery", people, "-k", 2, "--exact")
    assert code == exits.DONE
    neighbors = answer["images"][0]["faces"][0]["neighbors"]
    assert len(neighbors) == 2
    assert neighbors[0]["identity_id"] == "Serena_Williams"
    assert neighbors[0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert "Serena_Williams" in say("search", photograph, "--gallery", people, "--explain")


def test_embeddings_of_a_file_are_searched(mien: Run, running: ServerProcess, tmp_path: Path) -> None:
    """--embedding takes an array of one or more vectors, normalised when asked."""
    with Client(running.address) as client:
        client.create_gallery("vectors", precomputed="m", dimension=3)
        client.enroll_faces("vectors", [EnrollItem("x", embedding=[1, 0, 0]), EnrollItem("y", embedding=[0, 1, 0])])
    np.save(tmp_path / "probes.npy", np.array([[2, 0, 0], [0, 5, 0]]))
    arguments = ["search", "--embedding", tmp_path / "probes.npy", "--gallery", "vectors", "-k", 1]
    code, answer, _ = mien(*arguments, "--normalize")
    assert code == exits.DONE
    assert [probe["neighbors"][0]["identity_id"] for probe in answer["embeddings"]] == ["x", "y"]
    code, refused, told = mien(*arguments)
    assert (code, refused["error"]["code"]) == (exits.REFUSED, "INVALID_ARGUMENT")
    assert "mien search --normalize" in told


def test_photographs_in_a_gallery_of_embeddings_are_refused_for_good(
    mien: Run, say: Callable[..., str], folder: Path
) -> None:
    """What the server refuses once it refuses again, so nobody is told to run the command again."""
    mien("gallery", "create", "no-photographs", "--precomputed", "m", "--dimension", 4)
    code, _, told = mien("enroll", folder, "--gallery", "no-photographs")
    assert code == exits.REFUSED
    assert "again" not in told
    assert "with 0 identities and 0 faces" in say("gallery", "delete", "no-photographs")


def test_one_photograph_is_told_in_the_singular(say: Callable[..., str], folder: Path) -> None:
    """One file of one person makes no plurals."""
    say("gallery", "create", "single")
    photograph = next((folder / "Halle_Berry").iterdir())
    told = say("enroll", "--identity", "halle", photograph, "--gallery", "single")
    assert told.startswith("1 file into single:")
    assert told.rstrip().endswith("1 new identity.")
    assert "with 1 identity and 1 face." in say("gallery", "delete", "single", "--force")


def test_galleries_are_made_shown_and_deleted(mien: Run, say: Callable[..., str]) -> None:
    """create, list, show and delete; a name that is taken and a gallery that is gone are refusals with a hint."""
    code, made, _ = mien("gallery", "create", "short-lived", "--precomputed", "m", "--dimension", 4, "--threshold", 0.5)
    assert (code, made["name"], made["decision_policy"]["similarity"]) == (exits.DONE, "short-lived", 0.5)
    assert mien("gallery", "create", "short-lived", "--precomputed", "m", "--dimension", 4)[0] == exits.REFUSED
    assert "short-lived" in [one["name"] for one in mien("gallery", "list")[1]["galleries"]]
    assert "match at similarity 0.500" in say("gallery", "show", "short-lived")
    assert mien("gallery", "delete", "short-lived")[0] == exits.DONE
    code, refused, told = mien("gallery", "show", "short-lived")
    assert (code, refused["error"]["reason"]) == (exits.REFUSED, "GALLERY_NOT_FOUND")
    assert "mien gallery list" in told


def test_identities_and_faces_are_deleted(mien: Run, folder: Path) -> None:
    """delete identity takes all of a person's faces, delete face one; what is not there is a refusal."""
    mien("gallery", "create", "shrinking")
    mien("enroll", folder, "--gallery", "shrinking")
    code, deleted, _ = mien("delete", "identity", PEOPLE[0], PEOPLE[1], "--gallery", "shrinking")
    assert code == exits.DONE
    assert [one["deleted_faces"] for one in deleted["deleted"]] == [3, 3]
    listed = mien("list", "faces", "--gallery", "shrinking", "--limit", 1)[1]
    assert (len(listed["faces"]), listed["is_cut"], listed["total_size"]) == (1, True, 3)
    assert mien("list", "--gallery", "shrinking", "--label", "site=north")[1]["total_size"] == 0
    faces = [face["id"] for face in mien("list", "faces", "--gallery", "shrinking")[1]["faces"]]
    _, gone, _ = mien("delete", "face", *faces, "--gallery", "shrinking", "--delete-emptied")
    assert (gone["deleted_count"], gone["emptied_identity_ids"]) == (3, [PEOPLE[2]])
    assert mien("list", "--gallery", "shrinking")[1]["identities"] == []
    assert mien("delete", "identity", PEOPLE[0], "--gallery", "shrinking")[0] == exits.REFUSED
    assert mien("delete", "identity", PEOPLE[0], "--gallery", "shrinking", "--allow-missing")[0] == exits.DONE


def test_a_rebuild_is_waited_for(mien: Run, people: str) -> None:
    """rebuild --wait ends when the operation does, with its result."""
    code, operation, _ = mien("rebuild", people, "--wait")
    assert (code, operation["state"]) == (exits.DONE, "SUCCEEDED")


def test_detect_rates_every_face(mien: Run, say: Callable[..., str], shared_data: Path) -> None:
    """Every face of a group has a box and a quality; 68 landmarks when asked."""
    group = shared_data / "people" / "group" / "multiface.jpg"
    code, answer, _ = mien("detect", group, "--landmarks")
    faces = answer["files"][0]["image"]["faces"]
    assert code == exits.DONE
    assert len(faces) >= 5
    assert {len(face["landmarks"]["sixty_eight"]) for face in faces} == {68}
    assert all(0 <= face["quality"]["score"] <= 1 for face in faces)
    assert "multiface.jpg" in say("detect", group)


def test_info_shows_recipes_and_limits(mien: Run, say: Callable[..., str]) -> None:
    """The document has every limit, the tables the recipes."""
    code, info, _ = mien("info")
    assert code == exits.DONE
    assert info["limits"]["image_bytes_max"] > 0
    told = say("info", "--limits")
    assert "dlib (default)" in told
    assert "image_bytes_max" in told
