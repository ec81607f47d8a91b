"""Configurations from presets, TOML files and single values, and back to TOML.

Single values (from the command line) override a TOML file, which overrides a preset. An unknown name
raises a UserError that suggests the most similar field.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gpt.config import TrainConfig
from gpt.errors import UserError
from gpt.presets import preset

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["dotted_names", "from_dict", "from_toml", "load_config", "to_toml"]

_Config = TypeVar("_Config", bound="DataclassInstance")


def load_config(
    preset_name: str = "default", toml_path: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """A preset, overridden by a TOML file, overridden by `overrides` (dotted name -> value)."""
    config = preset(preset_name)
    if toml_path is not None:
        config = from_toml(toml_path, config)
    return from_dict(_nested(overrides or {}), config)


def from_dict(values: Mapping[str, Any], base: TrainConfig | None = None) -> TrainConfig:
    """`base` (default: `TrainConfig()`), overridden by nested `values`. UserError for an unknown name."""
    return _merge(base or TrainConfig(), values, "")


def to_toml(config: TrainConfig) -> str:
    """The whole configuration as TOML: the run's own fields, then a table for each group."""
    groups = {item.name: getattr(config, item.name) for item in fields(config)}
    lines = [f"{name} = {_toml_value(value)}" for name, value in groups.items() if not is_dataclass(value)]
    for name, group in groups.items():
        if is_dataclass(group):
            lines += ["", f"[{name}]"]
            lines += [f"{item.name} = {_toml_value(getattr(group, item.name))}" for item in fields(group)]
    return "\n".join(lines) + "\n"


def from_toml(source: Path | str, base: TrainConfig | None = None) -> TrainConfig:
    """`base`, overridden by the values in a TOML file (a `Path`) or in TOML text (a `str`)."""
    where = f"{source}: " if isinstance(source, Path) else ""
    try:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        return from_dict(tomllib.loads(text), base)
    except OSError as error:
        raise UserError(f"{where}expected a TOML file, got: {error.strerror}: check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{where}expected TOML, got: {error}: correct the file there") from error
    except UserError as error:
        raise UserError(f"{where}{error}") from error


def dotted_names(config: DataclassInstance, prefix: str = "") -> Iterator[str]:
    """The dotted name of every field: `steps`, `model.num_layers`, ..."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from dotted_names(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


def _merge(base: _Config, values: Mapping[str, Any], prefix: str) -> _Config:
    known = {item.name for item in fields(base)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise UserError(
                f"{prefix}{name}: expected the name of a configuration field, got an unknown one: "
                f"did you mean {_nearest(prefix + name, isinstance(value, Mapping))}?"
            )
        current = getattr(base, name)
        if is_dataclass(current) and not isinstance(current, type):
            if not isinstance(value, Mapping):
                example = f"{prefix}{name}.{fields(current)[0].name}"
                raise UserError(
                    f"{prefix}{name}: expected a group of fields, got {value!r}: set its fields, such as {example}"
                )
            changes[name] = _merge(current, value, f"{prefix}{name}.")
        else:
            changes[name] = tuple(value) if isinstance(value, list) else value
    return replace(base, **changes)


def _nearest(unknown: str, is_group: bool) -> str:
    """The known name most similar to `unknown`, as a whole and in the last part (the group may be wrong)."""
    names = list(dotted_names(TrainConfig()))
    if is_group:
        names = sorted({name.partition(".")[0] for name in names if "." in name})

    def likeness(name: str) -> float:
        pairs = ((name, unknown), (name.rpartition(".")[2], unknown.rpartition(".")[2]))
        return sum(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    return max(names, key=likeness)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, str):
        # A JSON string is a TOML basic string, except that TOML wants DEL escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in dotted.items():
        *groups, last = name.split(".")
        table = nested
        for group in groups:
            table = table.setdefault(group, {})
        table[last] = value
    return nested
