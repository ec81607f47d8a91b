"""The command line: the calls it makes, the errors it reports, its help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import gpt
from gpt import cli
from gpt.config import Sampling, TrainConfig
from gpt.config_file import dotted_names
from gpt.errors import UserError
from gpt.evaluate import Evaluation
from gpt.presets import PRESETS, preset
from gpt.train.lock import locked, preparation_folder
from tensorgrad.errors import ShapeError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the module gpt.NAME, which the command line imports, by one with these functions."""

    def put(name: str, **functions: Any) -> None:
        module = ModuleType(f"gpt.{name}")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(gpt, name, module, raising=False)

    return put


@dataclass(frozen=True)
class TrainCall:
    config: TrainConfig
    paths: tuple[str, ...]
    run_dir: Path


@pytest.fixture
def trained(fake: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[TrainCall | Path]:
    """The calls of train.train (as TrainCall) and train.resume (as the run's folder); changes to an empty folder."""
    calls: list[TrainCall | Path] = []

    def train(config: TrainConfig, paths: Sequence[str], run_dir: Path) -> None:
        calls.append(TrainCall(config, tuple(paths), run_dir))

    fake("train", train=train, resume=calls.append)
    monkeypatch.chdir(tmp_path)
    return calls


def _status(*arguments: str) -> int:
    """The exit status, whether main returns or raises it."""
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_train_without_arguments_is_the_default_preset(trained: list[TrainCall]) -> None:
    assert cli.main(["train"]) == 0
    assert trained == [TrainCall(preset("default"), (), Path("runs/default-001"))]


def test_train_takes_paths_before_and_after_options(trained: list[TrainCall]) -> None:
    assert cli.main(["train", "a.txt", "-", "--steps", "4"]) == 0
    assert cli.main(["train", "--steps", "4", "a.txt", "-"]) == 0
    assert [(call.paths, call.config.steps) for call in trained] == [(("a.txt", "-"), 4)] * 2


def test_the_new_run_folder_has_the_first_free_number(trained: list[TrainCall], tmp_path: Path) -> None:
    (tmp_path / "runs" / "llama-nano-001").mkdir(parents=True)
    assert cli.main(["train", "--preset", "llama-nano"]) == 0
    assert cli.main(["train", "--run-dir", "here"]) == 0
    assert [call.run_dir for call in trained] == [Path("runs/llama-nano-002"), Path("here")]


def test_two_runs_that_start_at_once_have_two_folders(trained: list[TrainCall], tmp_path: Path) -> None:
    preparing = preparation_folder(Path("runs/default-001"))
    preparing.mkdir(parents=True)
    with locked(preparing):
        assert cli.main(["train"]) == 0
    assert cli.main(["train"]) == 0  # a killed process leaves its folder unlocked
    assert [call.run_dir for call in trained] == [Path("runs/default-002"), Path("runs/default-001")]


def test_options_go_over_the_toml_file_over_the_preset(trained: list[TrainCall], tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('steps = 7\nbatch_size = 6\n[data]\npaths = ["x.txt"]\n')
    options = ["--preset=shakespeare-char", "--config", "my.toml", "--batch-size", "3", "--model.has-bias"]
    assert cli.main(["train", *options]) == 0
    assert cli.main(["train", "y.txt", *options]) == 0
    config = trained[0].config
    assert (config.steps, config.batch_size, config.model.has_bias) == (7, 3, True)
    assert config.model.num_heads == preset("shakespeare-char").model.num_heads
    assert [call.paths for call in trained] == [("x.txt",), ("y.txt",)]


def test_every_field_can_be_set(trained: list[TrainCall]) -> None:
    other = preset("gpt2-124m")
    arguments: list[str] = []
    for name in dotted_names(other):
        value: Any = other
        for part in name.split("."):
            value = getattr(value, part)
        group, _, field = name.rpartition(".")
        prefix = f"--{group}." if group else "--"
        field = field.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(prefix + field if value else f"{prefix}no-{field}")
        elif not isinstance(value, tuple):
            arguments += [prefix + field, str(value)]
    assert cli.main(["train", *arguments]) == 0
    assert trained[0].config == other


def test_values_are_checked_together_and_not_one_by_one(trained: list[TrainCall]) -> None:
    # 3 heads do not divide the default width; 25 heads of another preset do not divide 96.
    assert cli.main(["train", "--model.num-heads", "3", "--model.model-dim", "96"]) == 0
    assert cli.main(["train", "--preset", "gpt2-1558m", "--model.num-heads", "4", "--model.model-dim", "96"]) == 0
    assert [call.config.model.head_dim for call in trained] == [32, 24]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--model.num-heads", "3"],
            "gpt: model.model_dim: expected a multiple of model.num_heads = 3",
        ),
        (
            ["train", "--micro-batch-size", "5"],
            "gpt: micro_batch_size: expected a divisor of batch_size = 8",
        ),
        (["train", "--preset", "gpt3"], "got 'gpt3': did you mean gpt2-"),
        (["train", "--config", "none.toml"], "gpt: none.toml: expected a TOML file"),
        (["train", "a.txt", "--resume", "x"], "gpt: --resume: expected no other option"),
        (["train", "--steps", "3", "--resume", "x"], "gpt: --resume: expected no other option"),
        (["train", "--preset", "llama-nano", "--resume", "x"], "gpt: --resume: expected no other option"),
        (["eval", "run"], "gpt: gpt eval: expected one or more text files"),
        (["sample", "run", "--num-samples", "0"], "gpt: --num-samples: expected 1 or more, got 0"),
    ],
)
def test_mistakes_get_one_message_and_status_2(
    trained: list[TrainCall],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    assert _status(*arguments) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert not trained
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["train", "--step", "3"], "--steps"),
        (["train", "--model.num-layer", "3"], "--model.num-layers"),
        (["train", "--learning-rate", "1e-3"], "--optim.learning-rate"),
        (["train", "--persets", "default"], "--preset"),
        (["sample", "run", "--temprature", "1"], "--temperature"),
        (["trian"], "train"),
        (["train", "--steps", "many"], "--steps"),
        (["train", "--model.norm", "batch_norm"], "rms_norm"),
        (["train", "--preset"], "--preset"),
        (["sample"], "run folder"),
    ],
)
def test_malformed_options_are_refused_with_the_nearest(
    trained: list[TrainCall], capsys: pytest.CaptureFixture[str], arguments: list[str], nearest: str
) -> None:
    assert _status(*arguments) == 2
    output = capsys.readouterr()
    assert nearest in output.err
    assert output.out == ""
    assert not trained


def test_resume(trained: list[Path]) -> None:
    assert cli.main(["train", "--resume", "runs/default-001"]) == 0
    assert trained == [Path("runs/default-001")]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("a.txt: expected text, got nothing: fill it"), 2, "gpt: a.txt: expected text"),
        (ShapeError("matmul: expected (2, 3), got (3, 2)"), 2, "gpt: matmul: expected (2, 3)"),
        (OSError(28, "No space left on device"), 1, "gpt: [Errno 28] No space left on device"),
        (MemoryError("Unable to allocate 7 TiB"), 1, "gpt: memory: expected room for a step, got: Unable to allocate"),
        (KeyboardInterrupt(), 130, "gpt: interrupted\n"),
    ],
)
def test_errors_of_the_work_become_a_message_and_a_status(
    fake: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: BaseException,
    status: int,
    message: str,
) -> None:
    def train(config: TrainConfig, paths: Sequence[str], run_dir: Path) -> None:
        raise error

    fake("train", train=train)
    assert cli.main(["train", "--run-dir", str(tmp_path / "new")]) == status
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("stop", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "gpt: interrupted; go on"),
        (OSError("model.safetensors: expected room"), 1, "gpt: model.safetensors: expected room; go on"),
    ],
)
def test_an_interrupted_run_says_how_to_go_on(
    fake: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    stop: BaseException,
    status: int,
    words: str,
) -> None:
    def train(config: TrainConfig, paths: Sequence[str], run_dir: Path) -> None:
        if run_dir.name == "my run":
            (run_dir / "config.toml").write_text("")
        raise stop

    fake("train", train=train)
    run_dir = tmp_path / "my run"
    run_dir.mkdir()
    assert cli.main(["train", "--run-dir", str(run_dir)]) == status
    error = capsys.readouterr().err
    assert error.startswith(words)
    assert f"gpt train --resume '{run_dir}'" in error
    assert cli.main(["train", "--run-dir", str(tmp_path / "nothing yet")]) == status
    assert "go on" not in capsys.readouterr().err


def test_other_errors_are_bugs_and_keep_their_traceback(fake: Callable[..., None]) -> None:
    def train(config: TrainConfig, paths: Sequence[str], run_dir: Path) -> None:
        raise RuntimeError("a bug")

    fake("train", train=train)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["train"])


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders given to gpt.load."""
    folders: list[Path] = []

    def load(folder: Path) -> SimpleNamespace:
        folders.append(folder)
        return SimpleNamespace(model="model", tokenizer="tokenizer", config=None)

    monkeypatch.setattr(gpt, "load", load, raising=False)
    return folders


def test_sample_prints_the_prompt_and_streams_each_sample(
    fake: Callable[..., None], loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[Sampling, int]] = []

    def generate(model: str, tokenizer: str, prompt: str, *, sampling: Sampling, seed: int) -> Iterator[str]:
        assert (model, tokenizer, prompt) == ("model", "tokenizer", "Once")
        seen.append((Sampling(**{item.name: getattr(sampling, item.name) for item in fields(Sampling)}), seed))
        for piece in (" upon", f" a time {seed}"):
            yield piece
            assert piece in capsys.readouterr().out  # on the screen before the next is made

    fake("generate", generate=generate)
    options = "--max-tokens 9 --temperature 0.5 --top-k 3 --top-p 0.9 --min-p 0.1 --stop x y --seed 5"
    assert cli.main(["sample", "run", "--prompt", "Once", "--num-samples", "2", *options.split()]) == 0
    sampling = Sampling(max_tokens=9, temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, stop=("x", "y"))
    assert seen == [(sampling, 5), (sampling, 6)]
    assert loaded == [Path("run")]


def test_a_prompt_may_start_with_a_dash(
    fake: Callable[..., None], loaded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def generate(model: str, tokenizer: str, prompt: str, *, sampling: object, seed: int) -> Iterator[str]:
        yield " a list"

    fake("generate", generate=generate)
    assert cli.main(["sample", "run", "--prompt=- in"]) == 0
    assert capsys.readouterr().out == "- in a list\n"


def test_eval_adds_up_nats_tokens_and_bytes(
    monkeypatch: pytest.MonkeyPatch, loaded: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def evaluate_text(model: str, tokenizer: str, text: str) -> Evaluation:
        return Evaluation(loss=float(len(text)), num_tokens=10, num_bytes=len(text) * 10)

    monkeypatch.setattr("gpt.evaluate.evaluate_text", evaluate_text)
    for name, text in (("a", "a"), ("b", "bbb")):
        (tmp_path / f"{name}.txt").write_text(text)
    assert cli.main(["eval", "run", str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]) == 0
    lines = [line.removeprefix(str(tmp_path)) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "/a.txt: loss 1.0000 nats per token, perplexity 2.72, 1.4427 bits per byte (10 tokens, 10 bytes)",
        "/b.txt: loss 3.0000 nats per token, perplexity 20.09, 1.4427 bits per byte (10 tokens, 30 bytes)",
        "all: loss 2.0000 nats per token, perplexity 7.39, 1.4427 bits per byte (20 tokens, 40 bytes)",
    ]


def test_export(fake: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple[Path, Path]] = []
    fake("checkpoint", export=lambda run, folder: calls.append((run, folder)))
    assert cli.main(["export", "run", "out"]) == 0
    assert calls == [(Path("run"), Path("out"))]
    assert capsys.readouterr().out == "wrote out\n"


def test_help_of_train_shows_the_presets_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("train", "--preset", "gpt2-774m", "--help") == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: 286102)" in text
    assert "--model.num-layers INT blocks of attention and MLP (default: 36)" in text
    for name in PRESETS:
        assert name in text


def test_every_option_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "sample", "eval", "export"):
        assert _status(command, "--help") == 0
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert " INT (default" not in text
        assert " FLOAT (default" not in text
        assert " STR (default" not in text
        assert "} (default" not in text


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status() == 0
    output = capsys.readouterr().out
    assert all(command in output for command in ("train", "sample", "eval", "export"))


def _gpt(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, **options
    )


def test_help_imports_nothing_heavy() -> None:
    heavy = ["tokenizers", "safetensors", "matplotlib", "rich", "torch"]
    result = _gpt(
        "import sys\nfrom gpt.cli import main\n"
        "try: main(['train', '--help'])\n"
        f"finally: print('heavy:', [name for name in {heavy} if name in sys.modules])"
    )
    assert result.returncode == 0
    assert result.stderr == ""
    assert "--optim.learning-rate" in result.stdout
    assert "heavy: []" in result.stdout


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    code = (
        "import sys, types, gpt\nfrom gpt.cli import main\n"
        "gpt.load = lambda folder: types.SimpleNamespace(model=0, tokenizer=0)\n"
        "fake = types.ModuleType('gpt.generate')\n"
        "fake.generate = lambda *args, **kwargs: iter(['x' * 1000] * 1000)\n"
        "sys.modules['gpt.generate'] = fake\n"
        "sys.exit(main(['sample', 'run']))"
    )
    script = tmp_path / "sample.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(10) == b"x" * 10
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=20) == 141


def test_the_doctor_tells_and_its_verdict_is_the_status(monkeypatch, capsys):
    assert cli.main(["doctor"]) == 0
    assert "self-test on cpu: " in capsys.readouterr().out
    monkeypatch.setattr("tensorgrad.doctor", lambda: False)
    assert cli.main(["doctor"]) == 1
    assert "gpt: doctor: expected known numbers" in capsys.readouterr().err
