"""Checkpoints: complete or absent, whole while being replaced, with clear errors for anything else."""

from __future__ import annotations

import json
import pkgutil
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import SafetensorError

from gpt.checkpoint import checkpoint_folder, checkpoints, export, load, load_training_state, save_checkpoint
from gpt.checkpoint.hub import to_hub
from gpt.checkpoint.tensor_file import read_tensors, write_tensors
from gpt.config import DataConfig, ModelConfig, TrainConfig
from gpt.data.tokenizer import Tokenizer, byte_tokenizer
from gpt.errors import UserError
from gpt.model import GPT
from tensorgrad import Key
from tensorgrad.tree import named_tensors

MODEL = ModelConfig(vocab_size=257, context_length=8, num_layers=1, num_heads=2, model_dim=8)
RUN = TrainConfig(model=MODEL, data=DataConfig(paths=("a.txt", "b")), seed=5)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_tokenizer()


@pytest.fixture
def save(tmp_path: Path, tokenizer: Tokenizer) -> Callable[..., Path]:
    """save(step, seed=0): a checkpoint of the run in tmp_path."""

    def write(step: int, seed: int = 0) -> Path:
        folder = checkpoint_folder(tmp_path, step)
        arrays = {"first_moment": np.arange(5, dtype=np.float32) + seed, "count": np.array(step)}
        model = GPT.init(MODEL, Key(seed))
        save_checkpoint(folder, model, RUN, tokenizer, arrays=arrays, values={"step": step, "elapsed_s": 0.1})
        return folder

    return write


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_saved_is_loaded(save: Callable[..., Path], tokenizer: Tokenizer) -> None:
    folder = save(10)
    assert folder.name == "step-00000010"
    assert sorted(p.name for p in folder.iterdir()) == [
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("training.json", "training.safetensors"),
    ]
    loaded = load(folder)
    assert replace(loaded.config, num_kv_heads=0, ffn_dim=0) == MODEL
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.fingerprint == tokenizer.fingerprint
    for name, x in named_tensors(GPT.init(MODEL, Key(0))).items():
        np.testing.assert_array_equal(named_tensors(loaded.model)[name].numpy(), x.numpy())
    state = load_training_state(folder)
    assert state.config == RUN
    assert state.values == {"step": 10, "elapsed_s": 0.1}
    np.testing.assert_array_equal(state.arrays["first_moment"], np.arange(5, dtype=np.float32))
    assert state.arrays["count"].item() == 10
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == tokenizer.end_of_text_id


def test_a_run_folder_stands_for_its_newest_checkpoint(save: Callable[..., Path], tmp_path: Path) -> None:
    folders = [save(step, seed=step) for step in (9, 100, 20)]
    (tmp_path / "checkpoints" / ".step-00000300.tmp").mkdir()
    (tmp_path / "checkpoints" / "step-notes").mkdir()
    assert checkpoints(tmp_path) == [folders[0], folders[2], folders[1]]
    assert load_training_state(tmp_path).values["step"] == 100
    expected = GPT.init(MODEL, Key(100)).embedding.tokens.numpy()
    np.testing.assert_array_equal(load(tmp_path).model.embedding.tokens.numpy(), expected)


def test_parameters_can_be_loaded_wider(save: Callable[..., Path]) -> None:
    model = load(save(1), dtype="float64").model
    assert {x.dtype.name for x in named_tensors(model).values()} == {"float64"}
    assert model([[1, 2]]).dtype == np.float64


@pytest.mark.parametrize(
    "failing", ["gpt.checkpoint.folder.write_tensors", "gpt.checkpoint.folder._write_json", "gpt.atomic.sync"]
)
@pytest.mark.parametrize("is_replacing", [False, True])
def test_a_failure_leaves_everything_as_it_was(
    failing: str, is_replacing: bool, save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(1)
    if is_replacing:
        save(2)
    before = snapshot(tmp_path)
    original, calls = pkgutil.resolve_name(failing), iter(range(100))

    def fail(*args: Any) -> Any:
        if next(calls) == 1:
            raise OSError("no space left on device")
        return original(*args)

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match="no space left"):
        save(2, seed=1)
    assert snapshot(tmp_path) == before
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_the_old_checkpoint_is_back_if_the_new_one_cannot_be_moved(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(2)
    before = snapshot(tmp_path)
    original = Path.rename

    def fail_on_the_new(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError("stopped")
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_on_the_new)
        with pytest.raises(OSError, match="stopped"):
            save(2, seed=1)
    assert snapshot(tmp_path) == before


def test_a_machine_that_stops_between_the_two_renames_loses_nothing(save: Callable[..., Path], tmp_path: Path) -> None:
    save(1)
    folder = save(2)
    old = folder.with_name(f".{folder.name}.old")
    folder.rename(old)
    assert checkpoints(tmp_path)[-1] == old
    assert load_training_state(tmp_path).values["step"] == 2
    save(2, seed=1)
    assert checkpoints(tmp_path)[-1] == folder
    assert load_training_state(tmp_path).arrays["first_moment"][0] == 1
    shutil.copytree(folder, old, dirs_exist_ok=True)
    assert checkpoints(tmp_path)[-1] == folder, "the new one counts where both are there"


def test_replacing_leaves_nothing_behind(save: Callable[..., Path], tmp_path: Path) -> None:
    save(2)
    stale = tmp_path / "checkpoints" / ".step-00000002.tmp"
    stale.mkdir()
    (stale / "half").write_text("x")
    folder = save(2, seed=1)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    expected = GPT.init(MODEL, Key(1)).embedding.tokens.numpy()
    np.testing.assert_array_equal(load(folder).model.embedding.tokens.numpy(), expected)


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("dear diary")
    with pytest.raises(UserError, match="expected a new folder or a checkpoint to replace"):
        save_checkpoint(tmp_path / "diary", GPT.init(MODEL, Key(0)), RUN, tokenizer, arrays={}, values={})
    assert snapshot(tmp_path) == {"diary/monday.txt": b"dear diary"}


# --- what is not a checkpoint ------------------------------------------------------------------


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a run folder or a model folder, got none: check the path"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"expected a run folder .* got neither"):
        load(tmp_path)
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(UserError, match="expected a run with a checkpoint, got one without"):
        load(tmp_path)


def _break(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    match how:
        case "truncated":
            weights.write_bytes(data[:-10])
        case "huge header":
            weights.write_bytes((1 << 60).to_bytes(8, "little") + data[8:])
        case "header lies":
            header_bytes = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + header_bytes])
            first = next(name for name in header if name != "__metadata__")
            header[first]["data_offsets"][1] += 4
            text = json.dumps(header).encode()
            weights.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + header_bytes :])
        case "not safetensors":
            weights.write_bytes(b"PK\x03\x04 something else")
        case "empty":
            weights.write_bytes(b"")
        case "missing":
            weights.unlink()
        case "pickle":
            weights.rename(folder / "pytorch_model.bin")
        case "config is a list":
            (folder / "config.json").write_text("[]")
        case "config is cut":
            (folder / "config.json").write_text('{"model_type": "ll')
        case "config is binary":
            (folder / "config.json").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", r"model\.safetensors: expected a complete safetensors file"),
        ("huge header", r"expected a complete safetensors file"),
        ("header lies", r"expected a complete safetensors file"),
        ("not safetensors", r"expected a complete safetensors file"),
        ("empty", r"expected a complete safetensors file"),
        ("missing", r"expected model\.safetensors, got none"),
        ("pickle", r"got a file of Python pickles.*convert it with transformers"),
        ("config is a list", r"config\.json: expected a JSON object, got list"),
        ("config is cut", r"config\.json: expected JSON, got"),
        ("config is binary", r"config\.json: expected JSON, got"),
    ],
)
def test_broken_files(how: str, message: str, save: Callable[..., Path]) -> None:
    folder = save(1)
    _break(folder, how)
    with pytest.raises(UserError, match=message):
        load(folder)


def test_a_training_state_that_is_not_one(save: Callable[..., Path]) -> None:
    folder = save(1)
    (folder / "training.json").write_text('{"values": {}}')
    with pytest.raises(UserError, match=r"training\.json: expected a run's state, got 'config'"):
        load_training_state(folder)
    for values, got in (({}, "'step'"), ({"step": "3", "elapsed_s": 0.1}, "step '3'"), ({"step": 3}, "'elapsed_s'")):
        (folder / "training.json").write_text(json.dumps({"values": values, "config": {}}))
        with pytest.raises(UserError, match=rf"training\.json: expected a run's state, got {got}"):
            load_training_state(folder)
    (folder / "training.json").write_text('{"values": {}, "config": {"stepz": 3}}')
    with pytest.raises(UserError, match=r"training\.json: .*stepz.*did you mean steps"):
        load_training_state(folder)
    (folder / "training.json").unlink()
    with pytest.raises(UserError, match=r"training\.json: expected a JSON file"):
        load_training_state(folder)


def test_a_tokenizer_of_another_model(save: Callable[..., Path], tmp_path: Path, tokenizer: Tokenizer) -> None:
    small = GPT.init(replace(MODEL, vocab_size=100), Key(0))
    save_checkpoint(tmp_path / "x", small, RUN, tokenizer, arrays={}, values={})
    with pytest.raises(UserError, match=r"expected a tokenizer of at most the model's 100 ids, got 257"):
        load(tmp_path / "x")


def test_the_parts_of_an_index_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_hub(GPT.init(MODEL, Key(0)))[0]))
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="expected names of files beside it"):
        load(tmp_path)


def test_a_model_in_parts(tmp_path: Path) -> None:
    model = GPT.init(MODEL, Key(0))
    values, tensors = to_hub(model)
    (tmp_path / "config.json").write_text(json.dumps(values))
    weight_map = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for part in set(weight_map.values()):
        write_tensors(tmp_path / part, {name: x for name, x in tensors.items() if weight_map[name] == part})
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    np.testing.assert_array_equal(load(tmp_path).model([[1, 2]]).numpy(), model([[1, 2]]).numpy())


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match=r"x\.safetensors: expected room for 24 bytes, got: .*No space left"):
        write_tensors(tmp_path / "x.safetensors", {"a": np.zeros(3)})


def test_arrays_of_every_kind_go_through_a_file(tmp_path: Path) -> None:
    arrays = {
        dtype: np.arange(6).reshape(2, 3).astype(dtype)
        for dtype in ("float64", "float32", "float16", "int64", "int32", "uint8", "uint64", "bool")
    }
    arrays |= {"empty": np.zeros((0, 3)), "scalar": np.array(2.5), "transposed": np.arange(6.0).reshape(2, 3).T}
    write_tensors(tmp_path / "x.safetensors", arrays)
    found = read_tensors(tmp_path / "x.safetensors")
    assert found.keys() == arrays.keys()
    for name, x in arrays.items():
        assert (found[name].dtype, found[name].shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(found[name], x)


# --- export ------------------------------------------------------------------------------------


def test_export_writes_the_model_and_its_tokenizer_only(save: Callable[..., Path], tmp_path: Path) -> None:
    folder = save(3)
    export(tmp_path, tmp_path / "out")
    exported = snapshot(tmp_path / "out")
    assert sorted(exported) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert exported.items() <= snapshot(folder).items()
    with pytest.raises(UserError, match=r"export: expected a new folder, got .*out, which exists"):
        export(tmp_path, tmp_path / "out")


def test_export_refuses_what_transformers_lacks(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = GPT.init(replace(MODEL, logit_soft_cap=30.0), Key(0))
    save_checkpoint(tmp_path / "x", model, RUN, tokenizer, arrays={}, values={})
    message = (
        r"export: expected a model that transformers has, .* differs from llama in logit_soft_cap=30\.0 \(needs 0\)"
    )
    with pytest.raises(UserError, match=message):
        export(tmp_path / "x", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert load(tmp_path / "x").config.logit_soft_cap == 30
