"""The main job, as `make run` does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mien_client.quickstart.__main__ import main
from mien_client.quickstart.samples import SampleFailure, default_folder, fetch_samples


@pytest.fixture(scope="module")
def samples() -> Path:
    """The folder of sample photographs; skips where they cannot be fetched."""
    try:
        fetch_samples(default_folder(), print)
    except SampleFailure as error:
        pytest.skip(str(error))
    return default_folder()


def test_the_tour_names_everyone_and_leaves_a_store_to_go_on_with(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every name is right and the stranger unknown; a second run on the same store finds everyone there already."""
    arguments = ["--once", "--samples", str(samples), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "store")]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "Every name is right, and the stranger is unknown." in told
    with Image.open(tmp_path / "out" / "group-named.jpg") as drawn, Image.open(tmp_path / "out" / "group.jpg") as group:
        assert drawn.size == group.size
    assert main(arguments) == 0
    assert "2 of them already there" in capsys.readouterr().out


def test_a_photograph_that_was_changed_is_fetched_again(samples: Path, tmp_path: Path) -> None:
    """What does not have the checksum is never used."""
    changed = tmp_path / "astronaut.png"
    for file in samples.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    changed.write_bytes(changed.read_bytes()[:-1])
    said: list[str] = []
    try:
        fetch_samples(tmp_path, said.append)
    except SampleFailure as error:
        pytest.skip(str(error))
    assert changed.read_bytes() == (samples / "astronaut.png").read_bytes()
    assert len(said) == 1
