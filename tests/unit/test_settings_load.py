"""Settings: where they come from, in which order, and what a wrong one is told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mien_server.config.limits import Limits
from mien_server.config.settings import Settings
from mien_server.config.settings_file import load_settings, settings_text
from mien_server.errors import InvalidArgument
from mien_server.storage import keys

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "docs" / "mien-server.example.toml"


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text('[server]\nthread_count = 20\nstream_count_max = 5\ndrain_s = 1.0\n[log]\nlevel = "error"\n')
    return file


def test_defaults_are_the_limits_of_the_code() -> None:
    """Where nobody says otherwise, the limits are those that the code documents."""
    assert load_settings(None, {}).limits.to_limits() == Limits()


def test_limits_of_keys_are_those_of_the_store() -> None:
    """What a setting may at most allow an id or a label's value is what the store's keys hold."""
    most = (keys.IDENTITY_ID_BYTES_MAX, keys.FACE_ID_BYTES_MAX, keys.LABEL_VALUE_BYTES_MAX)
    limits = Limits()
    assert (limits.identity_id_bytes_max, limits.face_id_bytes_max, limits.label_value_bytes_max) == most
    lowered = load_settings(None, {"limits": {"identity_id_bytes_max": 100}}).limits
    assert lowered.identity_id_bytes_max == 100


def test_flags_win_over_environment_over_file_over_defaults(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value comes from the flag, else the environment, else the file, else the default, key by key."""
    monkeypatch.setenv("MIEN_SERVER__THREAD_COUNT", "30")
    monkeypatch.setenv("MIEN_SERVER__STREAM_COUNT_MAX", "6")
    server = load_settings(settings_file, {"server": {"thread_count": 40}}).server
    assert (server.thread_count, server.stream_count_max, server.drain_s) == (40, 6, 1.0)
    assert server.waiting_call_count_max == 1024


def test_lists_in_the_environment_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two addresses in one variable are two addresses."""
    monkeypatch.setenv("MIEN_SERVER__LISTEN", "127.0.0.1:1, [::1]:2")
    assert load_settings(None, {}).server.listen == ("127.0.0.1:1", "[::1]:2")


def test_variables_of_others_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that begin alike but name no setting, such as the client's MIEN_SERVER, change nothing."""
    before = load_settings(None, {})
    monkeypatch.setenv("MIEN_SERVER", "127.0.0.1:7311")
    monkeypatch.setenv("MIEN_SHARED__DATA", "somewhere")
    assert load_settings(None, {}) == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"server": {"thred_count": 1}}, ["server.thred_count", "server.thread_count"]),
        ({"servers": {}}, ["servers", "server"]),
        ({"server": {"thread_count": "many"}}, ["server.thread_count", "integer", "many"]),
        ({"server": {"thread_count": 0}}, ["server.thread_count", "greater than or equal to 1"]),
        ({"server": {"listen": ["localhost"]}}, ["server.listen", "HOST:PORT"]),
        ({"server": {"listen": ["127.0.0.1:70000"]}}, ["server.listen", "HOST:PORT"]),
        ({"server": {"thread_count": 4}}, ["stream_count_max", "thread_count"]),
        ({"limits": {"identity_id_bytes_max": 257}}, ["limits.identity_id_bytes_max", "257", "at most 256"]),
        ({"limits": {"face_id_bytes_max": 65}}, ["limits.face_id_bytes_max", "65", "at most 64"]),
        ({"limits": {"label_value_bytes_max": 300}}, ["limits.label_value_bytes_max", "300", "at most 256"]),
        ({"tls": {"key_path": "key.pem"}}, ["certificate_path", "key_path"]),
        ({"log": {"level": "loud"}}, ["log.level", "'debug'"]),
        ({"embedding": {"facenet_weights_sha256": "xyz"}}, ["embedding.facenet_weights_sha256"]),
    ],
)
def test_wrong_settings_name_the_key_and_what_to_do(flags: dict[str, object], words: list[str]) -> None:
    """A wrong setting is refused by its key, with what would be right."""
    with pytest.raises(InvalidArgument) as caught:
        load_settings(None, flags)
    assert caught.value.reason == "SETTINGS_INVALID"
    assert [word for word in words if word not in caught.value.message] == []


def test_a_misspelt_variable_of_a_section_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names a section but no key of it is a mistake, not a wish to be ignored."""
    monkeypatch.setenv("MIEN_SERVER__DRAIN", "3")
    with pytest.raises(InvalidArgument) as caught:
        load_settings(None, {})
    assert "server.drain_s" in caught.value.message


@pytest.mark.parametrize("content", [None, b"[server\n", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A missing or broken file is refused by its path."""
    file = tmp_path / "settings.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidArgument) as caught:
        load_settings(file, {})
    assert str(file) in caught.value.message


def test_the_example_file_explains_every_key_and_holds_the_defaults() -> None:
    """docs/mien-server.example.toml is what `mien-server --print-config` prints where nothing is set."""
    assert EXAMPLE.read_text(encoding="utf-8") == settings_text(Settings())


def test_the_text_of_settings_reads_back(tmp_path: Path) -> None:
    """What --print-config prints can be given to --config, and means the same."""
    settings = load_settings(
        None, {"data_directory": "some where/store", "server": {"drain_s": 2.5, "unix_socket_path": '/tmp/a "b".sock'}}
    )
    file = tmp_path / "settings.toml"
    file.write_text(settings_text(settings), encoding="utf-8")
    assert load_settings(file, {}) == settings


def test_every_key_has_a_description() -> None:
    """No key goes unexplained, neither in the file nor in the code."""
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    models = [Settings, *(kind for kind in sections.values() if hasattr(kind, "model_fields"))]
    silent = [
        name
        for model in models
        for name, field in model.model_fields.items()
        if not field.description and not hasattr(field.annotation, "model_fields")
    ]
    assert silent == []
    assert tomllib.loads(EXAMPLE.read_text(encoding="utf-8")).keys() == sections.keys()
