"""A manifest comes back as it was written, and nothing else passes for one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mien_server.index import GenerationRefused, LadderStep, Manifest
from mien_server.index.manifest import (
    MANIFEST_FILE_NAME,
    FileDigest,
    Segment,
    Stage,
    Staging,
    read_manifest,
    sealed_text,
)
from mien_server.records.policies import IndexCode

MANIFEST = Manifest(
    name="000000000009-aa",
    store_id="s",
    gallery_number=1,
    model_fingerprint="m",
    dimension=16,
    rows=300,
    live_rows=290,
    revision=9,
    code=IndexCode.SCALAR_8BIT,
    code_name="IVF1,SQ8",
    residual=False,
    lists=1,
    list_imbalance=1.0,
    default_recall_target=0.999,
    ladder=(LadderStep(1, 1, 100, 0.999, 0.9, 0.01),),
    probe_count=290,
    faiss_version="1",
    build_time_us=1,
    build_seconds=1.0,
    files=(FileDigest("quantizer.faiss", 3, "00"), FileDigest("a", 3, "00"), FileDigest("b", 3, "00")),
    segments=(Segment("a", 0, 200, 195), Segment("b", 200, 300, 95)),
    trained_rows=100,
    trained_imbalance=1.0,
    measured_rows=200,
    measure_time_us=2,
    drift=-0.001,
    staging=Staging(
        first=Stage(1, 100),
        full=Stage(1, 200),
        stop_similarity=0.6,
        rank1_agreement=1.0,
        mated_decisions=1.0,
        stranger_decisions=0.9995,
        undecided=0.1,
        milliseconds=0.1,
    ),
)
STAGING = asdict(MANIFEST)["staging"]


def test_a_manifest_survives_the_disk(tmp_path: Path) -> None:
    """What is written is what is read."""
    (tmp_path / MANIFEST_FILE_NAME).write_text(MANIFEST.to_json(), encoding="utf-8")
    assert read_manifest(tmp_path) == MANIFEST


def test_short_lists_grow_with_the_gallery() -> None:
    """As many times more candidates are rescored as there are more rows than were measured, and never fewer."""
    assert MANIFEST.grown(100) == 145
    assert replace(MANIFEST, measured_rows=290).grown(100) == 100
    assert replace(MANIFEST, measured_rows=1000).grown(100) == 100


@pytest.mark.parametrize(
    "change",
    [
        {"manifest_version": 0},
        {"manifest_version": 2},
        {"manifest_version": 3},
        {"manifest_version": 6},
        {"live_rows": 301},
        {"live_rows": 0},
        {"lists": 0},
        {"code": 99},
        {"surprise": 1},
        {"ladder": [{"step": 1}]},
        {"files": [1]},
        {"files": []},
        {"segments": []},
        {"segments": [asdict(MANIFEST.segments[0])]},
        {"segments": [asdict(one) | {"first": 0} for one in MANIFEST.segments]},
        {"segments": [asdict(MANIFEST.segments[0]) | {"held": 196}, asdict(MANIFEST.segments[1])]},
        {"segments": [asdict(MANIFEST.segments[0]) | {"held": 290}, asdict(MANIFEST.segments[1]) | {"held": 0}]},
        {"trained_rows": 0},
        {"ladder": [asdict(MANIFEST.ladder[0]) | {"step": 2}]},
        {"ladder": [asdict(MANIFEST.ladder[0]) | {"rank1_agreement": 1.5}]},
        {"staging": {"first": {"lists": 1, "rescored": 1}}},
        {"staging": STAGING | {"standard_error": float("nan")}},
        {"relaxed_stagings": [STAGING, STAGING | {"stop_similarity": 1.5}]},
        {"staging": STAGING | {"stop_similarity": float("nan")}},
        {"staging": STAGING | {"stop_similarity": 1.5}},
        {"staging": STAGING | {"undecided": 1.5}},
        {"staging": STAGING | {"full": {"lists": 2, "rescored": 200}}},
        {"staging": STAGING | {"first": {"lists": 1, "rescored": 0}}},
    ],
    ids=str,
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """Another version, impossible numbers, unknown and missing fields: each is refused with a message."""
    fields = json.loads(MANIFEST.to_json()) | change
    del fields["checksum"]
    (tmp_path / MANIFEST_FILE_NAME).write_text(sealed_text(fields), encoding="utf-8")
    with pytest.raises(GenerationRefused) as caught:
        read_manifest(tmp_path)
    assert caught.value.reason == "GENERATION_REFUSED"


def test_a_manifest_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    """Whatever byte is changed, the manifest is refused, or says what it said."""
    text = MANIFEST.to_json().encode()
    path = tmp_path / MANIFEST_FILE_NAME
    for place in range(len(text)):
        path.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
        try:
            assert read_manifest(tmp_path) == MANIFEST
        except GenerationRefused:
            continue


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe", b"null", b" " * ((1 << 20) + 1)])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: bytes) -> None:
    """Files that are empty, no JSON, no object or far too long are refused."""
    (tmp_path / MANIFEST_FILE_NAME).write_bytes(text)
    with pytest.raises(GenerationRefused):
        read_manifest(tmp_path)
