"""Settings from a file, the environment and flags, and back to the text of a file."""

from __future__ import annotations

import difflib
import json
import os
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from mien_server.config.settings import ENVIRONMENT_PREFIX, NESTING, Settings
from mien_server.errors import InvalidArgument

__all__ = ["load_settings", "settings_text"]

COMMENT_WIDTH = 110
SHOWN_VALUE_CHARACTERS_MAX = 100


def load_settings(file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """The settings of a server.

    Args:
        file: a TOML file, or None for none.
        flags: values by key, nested as in the file; they win over the environment, which wins over the file.

    Raises:
        InvalidArgument: SETTINGS_INVALID; the message names every wrong key and what to do, a line each.
    """
    from_file = {} if file is None else _read(file)
    from_environment = _settings_in(os.environ)

    class FileSettings(Settings):
        model_config = SettingsConfigDict()

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it by name
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                InitSettingsSource(settings_cls, init_kwargs=from_environment),
                InitSettingsSource(settings_cls, init_kwargs=from_file),
            )

    try:
        loaded = FileSettings(**flags)
        return Settings.model_construct(**{name: getattr(loaded, name) for name in Settings.model_fields})
    except ValidationError as error:
        raise _invalid([_explained(dict(detail)) for detail in error.errors()], file) from error


def _settings_in(environment: Mapping[str, str]) -> dict[str, Any]:
    """The environment's variables that are settings, nested as in the file.

    Others that begin alike are somebody else's: the client reads MIEN_SERVER, which to pydantic's own reader would
    be the section `server`.
    """
    found: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        section, nesting, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition(NESTING)
        if nesting and section in Settings.model_fields:
            found.setdefault(section, {})[key] = value
        elif section == "data_directory":
            found[section] = value
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid([f"{error.strerror}; give an existing file to --config, or leave it out"], file) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _invalid([f"not a TOML file: {error}"], file) from error


def _invalid(problems: Sequence[str], file: Path | None) -> InvalidArgument:
    where = "the settings" if file is None else f"the settings (file {file})"
    return InvalidArgument(f"{where}: " + "\n  ".join(problems), reason="SETTINGS_INVALID")


def _explained(detail: Mapping[str, Any]) -> str:
    """One wrong key in a sentence."""
    path = [str(part) for part in detail["loc"]]
    key = ".".join(path) or "settings"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1)
        advice = f"did you mean {'.'.join([*path[:-1], near[0]])}?" if near else "see --print-config for every key"
        return f"{key}: there is no such setting; {advice}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"{key}: {message}"
    shown = textwrap.shorten(repr(detail["input"]), SHOWN_VALUE_CHARACTERS_MAX)
    return f"{key}: {message[:1].lower()}{message[1:]}, not {shown}"


def _known_keys(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path:
        field = model.model_fields.get(part)
        inner = None if field is None else field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def settings_text(settings: Settings) -> str:
    """The settings as a TOML file in which every key is explained; `load_settings` reads it back unchanged."""
    lines = [_comment(part) for part in (Settings.__doc__ or "").splitlines()[:1]]
    lines += [
        _comment("A key can be overridden by the environment, section and key joined by two underscores:"),
        _comment("MIEN_SERVER__THREAD_COUNT=16; lists are written with commas. Flags win over both."),
        "",
    ]
    sections: list[str] = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            sections += ["", _comment((type(value).__doc__ or "").strip()), f"[{name}]", *_entries(value)]
        else:
            lines += [_comment(field.description or ""), f"{name} = {_toml_value(value)}"]
    return "\n".join([*lines, *sections]) + "\n"


def _entries(section: BaseModel) -> list[str]:
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        lines += [_comment(field.description or ""), f"{name} = {_toml_value(getattr(section, name))}"]
    return lines


def _comment(text: str) -> str:
    return textwrap.fill(text, COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# ")


def _toml_value(value: object) -> str:
    match value:
        case None:
            return '""'
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case tuple() | list():
            return "[" + ", ".join(_toml_value(part) for part in value) + "]"
        case _:
            return json.dumps(str(value), ensure_ascii=False)
