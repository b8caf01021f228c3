"""A restored store comes to its place, also where that was cut off or refused halfway; it is told where both are."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien_server.errors import PreconditionFailed, Unavailable
from mien_server.storage import exchanging
from mien_server.storage.exchanging import finish_exchange, put_in_place, require_exchanged
from mien_server.storage.layout import Layout


def made(path: Path, mark: str) -> Path:
    """A folder that looks like a store."""
    path.mkdir()
    Layout(path).format_file.write_text(mark)
    return path


def mark(path: Path) -> str:
    return Layout(path).format_file.read_text()


def cut_off(target: Path, stamp: str) -> tuple[Path, Path]:
    """What a restore leaves that is cut off between two renames: the restored store and the one before it."""
    kept = target.with_name(f"{target.name}.before-restore-{stamp}")
    return made(kept, f"restored {stamp}"), made(kept.with_name(f"{kept.name}.old"), f"before {stamp}")


def test_of_several_that_were_cut_off_the_newest_is_gone_on_with(tmp_path: Path) -> None:
    """Whatever is older was followed by a store that was used."""
    target = tmp_path / "store"
    older, older_aside = cut_off(target, "20260101T000000Z")
    newest, _ = cut_off(target, "20260301T000000Z")
    cut_off(target, "20260201T000000Z")
    with pytest.raises(PreconditionFailed) as refused:
        require_exchanged(target)
    assert refused.value.metadata["restored"] == str(newest)
    finish_exchange(target)
    assert (mark(target), mark(newest)) == ("restored 20260301T000000Z", "before 20260301T000000Z")
    assert (mark(older), mark(older_aside)) == ("restored 20260101T000000Z", "before 20260101T000000Z")


def test_a_link_to_a_store_that_was_cut_off_is_followed(tmp_path: Path) -> None:
    """Its folder is missing, and the restored one is beside where it was, not beside the link."""
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk" / "store"
    cut_off(target, "20260101T000000Z")
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(PreconditionFailed):
        require_exchanged(link)
    finish_exchange(link)
    assert link.is_symlink()
    assert mark(link) == mark(target) == "restored 20260101T000000Z"


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_disk_that_refuses_halfway_is_told_with_where_both_stores_are(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the exchange, when the folder cannot be synced; or between two renames, where names cannot be exchanged."""

    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    def refuse_aside(step: str) -> None:
        if step == "restore.aside":
            refuse(tmp_path)

    target, work = made(tmp_path / "store", "before"), made(tmp_path / "work", "restored")
    if exchanges:
        monkeypatch.setattr(exchanging, "sync_folder", refuse)
    else:
        monkeypatch.setattr(exchanging, "_exchange", lambda *_: False)
        monkeypatch.setattr(exchanging, "reached", refuse_aside)
    with pytest.raises(Unavailable) as refused:
        put_in_place(work, target, is_replacing=True)
    places = refused.value.metadata
    assert (mark(Path(places["restored"])), mark(Path(places["before"]))) == ("restored", "before")
    assert all(place in refused.value.message for place in places.values())
    assert target.exists() == exchanges


def test_a_disk_that_refuses_before_anything_was_moved_leaves_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there is as it was, and that may be said."""

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    target, work = made(tmp_path / "store", "before"), made(tmp_path / "work", "restored")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="No space left"):
        put_in_place(work, target, is_replacing=True)
    assert (mark(work), mark(target)) == ("restored", "before")
