"""Text substitution, done before a file is parsed: `{{ fileDirname }}`, `{{ $ENV:default }}` and `{{ _base_.key }}`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from trainwright.base.errors import ConfigError, ConfigKeyError

_PREDEFINED = re.compile(r"\{\{\s*(fileDirname|fileBasename|fileBasenameNoExtension|fileExtname)\s*\}\}")
# {{ $NAME:default }}, the $NAME:default also in quotes of its own. The default holds no blanks.
_ENVIRONMENT = re.compile(r"""\{\{(?P<quote>['"]?)\s*\$\s*(?P<name>\w+)\s*:\s*(?P<default>\S*?)\s*(?P=quote)\}\}""")
BASE_REFERENCE = re.compile(r"\{\{\s*_base_\.([\w.]+)\s*\}\}")
_JSON_TOKEN = re.compile(BASE_REFERENCE.pattern + r'|"(?:[^"\\\n]|\\.)*"')
# What a string literal must not contain when it is written to a file, lest it be substituted when that is read.
OPENING = re.compile(r"""\{\{['"]?\s*(?:\$|_base_|file)""")
MARKER = re.compile(r"__tw_base_(\d+)__")


class Substituted:
    """Text without `{{ }}`; `base_keys[i]` is the dotted key that the marker `__tw_base_<i>__` stands for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.env: dict[str, str] = {}
        self.base_keys: list[str] = []


def substitute(
    text: str,
    filename: str,
    predefined: bool,
    environment: bool,
    is_json: bool = False,
    trusted: bool = True,
    bases: bool = True,
) -> Substituted:
    """Replace predefined and environment variables by their text, and references to the base by markers.

    A marker is a bare word, which Python reads as a name and YAML as a string; JSON outside of a string needs quotes
    around it. For a file that is not trusted the environment is not read, and the defaults are taken. With
    ``bases=False`` the references to the base stay.
    """
    result = Substituted(text)
    if "{{" not in text:
        return result
    if predefined:
        values = _file_variables(filename)
        result.text = _PREDEFINED.sub(lambda match: values[match[1]], result.text)
    if environment:
        _substitute_environment(result, filename, os.environ if trusted else {})
    if not bases:
        return result

    taken = MARKER.search(result.text)
    if taken is not None and BASE_REFERENCE.search(result.text) is not None:
        lineno = result.text.count("\n", 0, taken.start()) + 1
        raise ConfigError(f"{taken[0]} is what {{{{ _base_ }}}} becomes here: use another word", filename, lineno)

    def marker(match: re.Match[str]) -> str:
        result.base_keys.append(match[1])
        return f"__tw_base_{len(result.base_keys) - 1}__"

    def json_marker(match: re.Match[str]) -> str:
        return BASE_REFERENCE.sub(marker, match[0]) if match[0].startswith('"') else f'"{marker(match)}"'

    result.text = _JSON_TOKEN.sub(json_marker, result.text) if is_json else BASE_REFERENCE.sub(marker, result.text)
    return result


def _substitute_environment(result: Substituted, filename: str, environment: Mapping[str, str]) -> None:
    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name in environment:
            result.env[name] = environment[name]
            return environment[name]
        if not default:
            lineno = match.string.count("\n", 0, match.start()) + 1
            raise ConfigKeyError(
                f"the environment variable {name!r} is not set and {match[0]!r} gives no default: set it, or write "
                f"{{{{ ${name}:default }}}}",
                filename,
                lineno,
            )
        return default

    result.text = _ENVIRONMENT.sub(value, result.text)


def _file_variables(filename: str) -> dict[str, str]:
    folder, base = os.path.split(filename)
    stem, suffix = os.path.splitext(base)
    names = {"fileDirname": folder, "fileBasename": base, "fileBasenameNoExtension": stem, "fileExtname": suffix}
    return {name: value.replace("\\", "/") for name, value in names.items()}
