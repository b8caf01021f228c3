"""What the command line makes of files and folders before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien_client import (
    FieldViolation,
    Image,
    ImageFaces,
    ImageStatus,
    InvalidArgument,
    Limits,
)
from mien_client.cli.annotated_files import output_paths
from mien_client.cli.exits import UsageFailure
from mien_client.cli.folders import people_folder
from mien_client.cli.pictures import LoadedPicture, Rejection, load, plain_message, requests_of, unusable

GENEROUS = dict.fromkeys(Limits.__dataclass_fields__, 1 << 30)


def limits(**changed: int) -> Limits:
    return Limits(**{**GENEROUS, **changed})


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_is_a_person(tmp_path: Path) -> None:
    """Every file of a person's folder is that person's, in order; the source is the place within the folder."""
    touch(tmp_path / "Ada_Lovelace" / "2.png")
    touch(tmp_path / "Ada_Lovelace" / "1.jpg")
    touch(tmp_path / "bob" / "1.jpg")
    photographs, rejections = people_folder(tmp_path)
    assert [(one.identity_id, one.display_name, one.source) for one in photographs] == [
        ("Ada_Lovelace", "Ada Lovelace", "Ada_Lovelace/1.jpg"),
        ("Ada_Lovelace", "Ada Lovelace", "Ada_Lovelace/2.png"),
        ("bob", "bob", "bob/1.jpg"),
    ]
    assert rejections == []


def test_what_fits_nobody_is_told(tmp_path: Path) -> None:
    """A loose file, a folder in a person's folder and an empty folder are each reported with what to do."""
    touch(tmp_path / "ada" / "1.jpg")
    touch(tmp_path / "loose.jpg")
    touch(tmp_path / "ada" / "holiday" / "2.jpg")
    (tmp_path / "nobody").mkdir()
    photographs, rejections = people_folder(tmp_path)
    assert [one.source for one in photographs] == ["ada/1.jpg"]
    assert {one.reason for one in rejections} == {"LOOSE_FILE", "NESTED_FOLDER", "EMPTY_FOLDER"}


def test_files_that_people_did_not_put_there_are_left_out(tmp_path: Path) -> None:
    """Hidden files and those that file managers make are no photographs."""
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "1.jpg"):
        touch(tmp_path / "ada" / name)
    photographs, rejections = people_folder(tmp_path)
    assert [one.source for one in photographs] == ["ada/1.jpg"]
    assert rejections == []


def test_a_folder_of_loose_files_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Without a single person's folder nothing is enrolled, and the message names both ways to go on."""
    touch(tmp_path / "1.jpg")
    with pytest.raises(UsageFailure, match="--identity") as caught:
        people_folder(tmp_path)
    assert "only loose files" in str(caught.value)
    with pytest.raises(UsageFailure, match="is no folder"):
        people_folder(tmp_path / "absent")


def test_a_file_too_large_for_the_server_is_not_read(tmp_path: Path) -> None:
    """The limit is checked by the file's size, and the message names both numbers."""
    found = load(touch(tmp_path / "big.jpg", bytes(3000)), limits(image_bytes_max=2048))
    assert isinstance(found, Rejection)
    assert found.reason == "IMAGE_TOO_MANY_BYTES"
    assert "2.9 KiB" in found.message
    assert "2.0 KiB" in found.message


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    """An absent file and a folder are rejections, not exceptions."""
    absent = load(tmp_path / "absent.jpg", limits())
    folder = load(tmp_path, limits())
    assert isinstance(absent, Rejection)
    assert isinstance(folder, Rejection)
    assert (absent.reason, folder.reason) == ("UNREADABLE", "IS_A_FOLDER")


def test_a_long_name_keeps_its_end(tmp_path: Path) -> None:
    """A source beyond the server's limit is cut at its front, on a whole character."""
    found = load(touch(tmp_path / "x.jpg"), limits(source_bytes_max=9), source="é" * 20 + "/1.jpg")
    assert isinstance(found, LoadedPicture)
    assert found.image.source == "é/1.jpg"


def test_a_name_that_is_no_utf8_can_be_sent_and_shown(tmp_path: Path) -> None:
    """Bytes that are no text become question marks instead of an exception."""
    found = load(touch(Path(str(tmp_path) + "/caf\udce9.jpg")), limits())
    assert isinstance(found, LoadedPicture)
    assert found.image.source.endswith("caf\ufffd.jpg")


def test_requests_stay_within_every_limit() -> None:
    """Groups hold no more images and bytes than allowed, lose none and keep their order; one too large goes alone."""
    sizes = [10, 60, 60, 5, 5, 5, 5, 200, 1]
    pictures = [LoadedPicture(Path(str(place)), Image(bytes(size))) for place, size in enumerate(sizes)]
    groups = list(requests_of(pictures, [], limits(images_per_request_max=3, message_bytes_max=200)))
    assert [[len(one.image.content) for one in group] for group in groups] == [[10, 60], [60, 5, 5], [5, 5], [200], [1]]
    assert [one for group in groups for one in group] == pictures


def test_rejections_are_kept_beside_the_requests() -> None:
    """What cannot be sent is set aside and does not break the group it would have been in."""
    refused = Rejection("bad.jpg", "UNREADABLE", "no")
    rejections: list[Rejection] = []
    pictures = [LoadedPicture(Path("1"), Image(b"1")), refused, LoadedPicture(Path("2"), Image(b"2"))]
    assert [len(group) for group in requests_of(pictures, rejections, limits())] == [2]
    assert rejections == [refused]


def test_a_message_says_what_is_wrong_with_the_file_and_not_where_in_the_request() -> None:
    """The path within the request means nothing to somebody who typed a file's name."""
    error = InvalidArgument(
        "items[3].image: the file is empty", violations=[FieldViolation("items[3].image", "the file is empty")]
    )
    assert plain_message(error) == "the file is empty"


def test_nobody_in_a_photograph_is_an_answer() -> None:
    """A photograph without a face is not counted as one that could not be used; a damaged one is."""
    error = InvalidArgument("no", reason="IMAGE_X")
    no_face = ImageFaces(ImageStatus.NO_FACE, error, 10, 10, (), b"", "")
    corrupt = ImageFaces(ImageStatus.CORRUPT, error, 0, 0, (), b"", "")
    assert unusable("a.jpg", no_face) is None
    assert unusable("a.jpg", corrupt) == Rejection("a.jpg", "IMAGE_X", "no")


def test_an_annotated_picture_goes_where_it_was_asked_for(tmp_path: Path) -> None:
    """One photograph goes to a file or into a folder, several into a folder under names that differ."""
    one, other = Path("a/1.jpg"), Path("b/1.jpg")
    assert output_paths([one], tmp_path / "out.png") == {one: tmp_path / "out.png"}
    assert output_paths([one], tmp_path) == {one: tmp_path / "1.jpg"}
    assert output_paths([one], tmp_path / "folder") == {one: tmp_path / "folder" / "1.jpg"}
    assert output_paths([one, other], tmp_path) == {one: tmp_path / "1.jpg", other: tmp_path / "1-2.jpg"}


def test_an_annotated_picture_never_replaces_a_photograph(tmp_path: Path) -> None:
    """A place that is the photograph itself, a file for several, and an unknown type are refused beforehand."""
    photograph = touch(tmp_path / "1.jpg")
    with pytest.raises(UsageFailure, match="overwrite"):
        output_paths([photograph], tmp_path)
    with pytest.raises(UsageFailure, match="need a folder"):
        output_paths([photograph, tmp_path / "2.jpg"], photograph)
    with pytest.raises(UsageFailure, match=r"several photographs need a folder; .*new\.png names a file"):
        output_paths([photograph, tmp_path / "2.jpg"], tmp_path / "new.png")
    with pytest.raises(UsageFailure, match=r"there is no folder .*absent"):
        output_paths([photograph], tmp_path / "absent" / "out.png")
    with pytest.raises(UsageFailure, match=r"\.xyz"):
        output_paths([photograph], tmp_path / "out.xyz")
