"""A checkpoint is a folder that is also a Hugging Face model folder.

    config.json, model.safetensors           the model (see gpt/checkpoint/hub.py)
    tokenizer.json, tokenizer_config.json    the tokenizer
    training.json, training.safetensors      for a resumed run: step, configuration, the optimizer's state

A checkpoint appears complete or not at all (see gpt/atomic.py). Loading one runs no code from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt.atomic import replaced_atomically
from gpt.checkpoint.hub import OWN_LAYOUT, family, from_hub, misfits, to_hub
from gpt.checkpoint.tensor_file import read_tensors, write_tensors
from gpt.config import ModelConfig, TrainConfig
from gpt.config_file import from_dict
from gpt.data.tokenizer import Tokenizer, load_tokenizer
from gpt.errors import UserError
from gpt.model import GPT
from gpt.model.precision import Precision
from tensorgrad.array import Array

__all__ = [
    "Loaded",
    "TrainingState",
    "checkpoint_folder",
    "checkpoints",
    "export",
    "load",
    "load_training_state",
    "save_checkpoint",
]

_STEP_FOLDER = re.compile(r"\.?step-(\d+)(\.old)?")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "encoder.json")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, the tokenizer beside it (None if there was none), and the model's configuration."""

    model: GPT
    tokenizer: Tokenizer | None
    config: ModelConfig


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The rest of a checkpoint, as it was given to `save_checkpoint`."""

    config: TrainConfig
    arrays: dict[str, Array]
    values: dict[str, Any]


def checkpoint_folder(run_dir: Path, step: int) -> Path:
    """The path of a run's checkpoint after `step` updates."""
    return run_dir / "checkpoints" / f"step-{step:08d}"


def checkpoints(run_dir: Path) -> list[Path]:
    """A run's complete checkpoints, oldest first."""
    newest_of_step: dict[int, Path] = {}
    for path in sorted((run_dir / "checkpoints").glob("*step-*"), reverse=True):
        match = _STEP_FOLDER.fullmatch(path.name)
        # A crash while a checkpoint is replaced may leave it under its `.old` name only: then that one counts.
        if match and path.is_dir() and path.name.startswith(".") == bool(match[2]):
            newest_of_step.setdefault(int(match[1]), path)
    return [newest_of_step[step] for step in sorted(newest_of_step)]


def save_checkpoint(
    folder: Path,
    model: GPT,
    config: TrainConfig,
    tokenizer: Tokenizer,
    *,
    arrays: Mapping[str, Array],
    values: Mapping[str, Any],
) -> None:
    """Write a checkpoint. An older one in `folder` stays whole until the new one replaces it.

    Args:
        arrays, values: what a resumed run needs, under any names; `values` must fit into JSON.
    Raises: UserError: the folder exists and is no checkpoint. OSError: the disk is full, ...
    """
    if folder.exists() and not (folder / "config.json").is_file() and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"{folder}: expected a new folder or a checkpoint to replace, got another: name another")
    with replaced_atomically(folder) as temporary:
        _write_model(temporary, model, tokenizer)
        write_tensors(temporary / "training.safetensors", arrays)
        _write_json(temporary / "training.json", {"config": asdict(config), "values": dict(values)})


def load(folder: str | Path, *, dtype: str | Precision | None = None) -> Loaded:
    """The model of a run folder (its newest checkpoint), a checkpoint, or a Hugging Face model folder.

    Args:    dtype: the parameters' dtype, or a precision (gpt/model/precision.py); None: as saved, at least float32.
    Raises:  UserError: no such folder, missing or malformed files, an unsupported model.
    """
    folder = _model_folder(Path(folder))
    values = _read_json(folder / "config.json")
    try:
        model, config = from_hub(values, _read_weights(folder), dtype=dtype)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    has_tokenizer = any((folder / name).is_file() for name in _TOKENIZER_FILES)
    tokenizer = load_tokenizer(folder) if has_tokenizer else None
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{folder}: expected a tokenizer of at most the model's {config.vocab_size} ids, "
            f"got {tokenizer.vocab_size}: it is another model's"
        )
    return Loaded(model, tokenizer, config)


def load_training_state(folder: str | Path) -> TrainingState:
    """The state of a run to resume, from a run folder (its newest checkpoint) or a checkpoint."""
    folder = _model_folder(Path(folder))
    content = _read_json(folder / "training.json")
    try:
        config, values = from_dict(content["config"]), dict(content["values"])
        step, elapsed_s = values["step"], values["elapsed_s"]
        if type(step) is not int or not isinstance(elapsed_s, int | float):
            raise TypeError(f"step {step!r}, elapsed_s {elapsed_s!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'training.json'}: expected a run's state, got {error}: take another") from None
    return TrainingState(config, read_tensors(folder / "training.safetensors"), values)


def export(source: str | Path, folder: str | Path) -> None:
    """Write the model and tokenizer of a run into a new folder that `transformers` loads."""
    loaded, folder = load(source), Path(folder)
    if family(loaded.config) == OWN_LAYOUT:
        nearest = min(("llama", "gpt2"), key=lambda name: len(misfits(loaded.config, name)))
        raise UserError(
            f"export: expected a model that transformers has, got one that differs from {nearest} "
            f"in {', '.join(misfits(loaded.config, nearest))}: train one with those values"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"export: expected a new folder, got {folder}, which exists: name another")
    with replaced_atomically(folder) as temporary:
        _write_model(temporary, loaded.model, loaded.tokenizer)


def _write_model(folder: Path, model: GPT, tokenizer: Tokenizer | None) -> None:
    values, tensors = to_hub(model, end_of_text_id=None if tokenizer is None else tokenizer.end_of_text_id)
    _write_json(folder / "config.json", values)
    write_tensors(folder / "model.safetensors", tensors)
    if tokenizer is not None:
        tokenizer.save(folder)


def _model_folder(folder: Path) -> Path:
    """The folder itself if it holds a model, or a run's newest checkpoint."""
    if (folder / "config.json").is_file():
        return folder
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a run folder or a model folder, got none: check the path")
    found = checkpoints(folder)
    if found:
        return found[-1]
    if (folder / "config.toml").is_file():
        raise UserError(f"{folder}: expected a run with a checkpoint, got one without: train it for longer")
    raise UserError(
        f"{folder}: expected a run folder (with checkpoints/) or a model folder (with config.json), "
        "got neither: check the path"
    )


def _read_weights(folder: Path) -> dict[str, Array]:
    """The arrays of model.safetensors, or of the several files of a large model."""
    index_file = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return read_tensors(folder / "model.safetensors")
    if index_file.is_file():
        parts = sorted(set(_read_json(index_file).get("weight_map", {}).values()))
        if any(Path(part).name != part for part in parts):
            raise UserError(f"{index_file}: expected names of files beside it, got {parts}: download it again")
        return {name: x for part in parts for name, x in read_tensors(folder / part).items()}
    if list(folder.glob("*.bin")) + list(folder.glob("*.pt")) + list(folder.glob("*.pth")):
        raise UserError(
            "expected model.safetensors, got a file of Python pickles, which can run any code when it is read: "
            "convert it with transformers, or download the safetensors version"
        )
    raise UserError("expected model.safetensors, got none: is the folder complete?")


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: expected a JSON file, got: {error.strerror}: check the folder") from None
    except ValueError as error:
        raise UserError(f"{path}: expected JSON, got: {error}: write the file again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(values).__name__}: write the file again")
    return values
