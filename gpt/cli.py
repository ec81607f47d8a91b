"""The command line: `gpt train | sample | eval | export | doctor`.

Each command is a dataclass. Its fields are the options, the comments beside them the help, and `tyro`
parses them. `gpt train` takes every field of the configuration; the defaults in its help come from
the preset and the TOML file on the command line.

Exit status: 0; 2 for a mistake in what the user gave (one message on stderr); 1 for a failure of the
machine (disk full, no permission); 130 if interrupted; 141 if the reader of a pipe went away.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from gpt.config import Sampling, TrainConfig
from gpt.config_file import load_config
from gpt.errors import UserError
from gpt.presets import PRESETS

__all__ = ["main"]

_RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class _Start:
    # An option's help may also be in the docstring, where it can be computed.
    __doc__ = f"""Where a configuration comes from.

    Args:
        preset: {" | ".join(PRESETS)}
    """

    preset: str = "default"
    config: Path | None = None  # a TOML file, which overrides the preset; options override both


@dataclass(frozen=True, kw_only=True)
class _Run(_Start):
    """The options of `gpt train` that are not part of the configuration."""

    paths: tuple[str, ...]  # text files, folders, or - for standard input; none: the docs in this Python installation
    run_dir: Path | None = None  # new folder for all that the run writes; None: runs/PRESET-NUMBER
    resume: Path | None = None  # continue the interrupted run in this folder; takes no other option


# TrainConfig comes first: its __post_init__ is the one to run; the fields of _Run still lead the help.
@dataclass(frozen=True, kw_only=True)
class Train(TrainConfig, _Run):
    """Train a model, from raw text files to a folder that `gpt sample` can use."""

    def __call__(self) -> None:
        if self.resume is not None and replace(self, resume=None) != Train(paths=(), **_values(load_config())):
            raise UserError(
                "--resume: expected no other option, as the run's folder has its configuration, "
                "got others: leave them out, or start a new run"
            )
        from gpt import train

        _keep_freed_memory()
        # Choose the number last: another run may take it until this one has begun.
        run_dir = self.resume or self.run_dir or _new_run_dir(self.preset)
        try:
            if self.resume is not None:
                train.resume(run_dir)
            else:
                config = TrainConfig(**_values(self))
                train.train(config, self.paths or config.data.paths, run_dir)
        except (KeyboardInterrupt, OSError) as stop:
            if isinstance(stop, BrokenPipeError) or not (run_dir / "config.toml").exists():
                raise
            resume = shlex.join(["gpt", "train", "--resume", str(run_dir)])
            go_on = f"; go on from the last checkpoint with: {resume}"
            if isinstance(stop, KeyboardInterrupt):
                raise KeyboardInterrupt(go_on) from None
            raise OSError(f"{stop}{go_on}") from None


@dataclass(frozen=True, kw_only=True)
class _Prompt:
    """The options of `gpt sample` beside the sampling."""

    run: Path  # a run folder, or a model folder (ours, or Hugging Face's GPT-2 and Llama)
    prompt: str = ""  # the text to continue (--prompt=-x if it starts with a dash); empty: start a document
    seed: int = 0  # the same seed gives the same text
    num_samples: int = 1  # continuations, with the seeds seed, seed + 1, ...


@dataclass(frozen=True, kw_only=True)
class Sample(Sampling, _Prompt):
    """Continue a prompt with a trained model; the text appears as it is generated."""

    def __call__(self) -> None:
        if self.num_samples < 1:
            raise UserError(f"--num-samples: expected 1 or more, got {self.num_samples}: raise it")
        import gpt
        from gpt.generate import generate
        from tensorgrad import threads

        with threads():
            loaded = gpt.load(self.run)
            for index in range(self.num_samples):
                if index:
                    print("\n---")
                print(self.prompt, end="", flush=True)
                seed = self.seed + index
                for piece in generate(loaded.model, loaded.tokenizer, self.prompt, sampling=self, seed=seed):
                    print(piece, end="", flush=True)
                print()


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Measure how well a model predicts texts: loss, perplexity, bits per byte."""

    run: Path  # a run folder, or a model folder
    files: tuple[str, ...]  # text files, folders, or - for standard input

    def __call__(self) -> None:
        if not self.files:
            raise UserError("gpt eval: expected one or more text files, got none: name them after the run")
        import gpt
        from gpt.data.corpus import read_corpus
        from gpt.evaluate import Evaluation, evaluate_text
        from tensorgrad import threads

        corpora = [(path, read_corpus([path])) for path in self.files]
        with threads():
            loaded = gpt.load(self.run)
            totals = []
            for path, corpus in corpora:
                documents = (evaluate_text(loaded.model, loaded.tokenizer, x.text) for x in corpus.documents)
                totals.append(Evaluation.of_all(documents))
                print(f"{path}: {totals[-1]}")
            if len(totals) > 1:
                print(f"all: {Evaluation.of_all(totals)}")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run's model and tokenizer as a model folder for Hugging Face's transformers."""

    run: Path  # a run folder
    folder: Path  # a new folder

    def __call__(self) -> None:
        from gpt.checkpoint import export

        export(self.run, self.folder)
        print(f"wrote {self.folder}")


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Report what this machine computes with (processor, GPU, libraries, kernels), and test it."""

    def __call__(self) -> None:
        import tensorgrad

        if not tensorgrad.doctor():
            raise OSError("doctor: expected known numbers to come out right, got others: see FAILED above")


_Command = Train | Sample | Eval | Export | Doctor


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is `sys.argv[1:]` by default. Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the terminal may not have a sample's characters
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _parse(arguments or ["--help"])()
        sys.stdout.flush()
    except UserError as error:
        return _fail(error, 2)
    except KeyboardInterrupt as stop:
        return _fail(f"interrupted{stop}", 130)
    except BrokenPipeError:
        # The reader is gone, as in `gpt sample ... | head`. Discard what is still buffered.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _fail(error, 1)
    except MemoryError as error:
        got = error or "none left"
        do = "lower micro_batch_size or the model's sizes, or use recompute"
        return _fail(f"memory: expected room for a step, got: {got}: {do}", 1)
    except Exception as error:
        from tensorgrad.errors import TensorgradError  # here, as it imports NumPy, which the help does not need

        if not isinstance(error, TensorgradError):
            raise
        return _fail(error, 2)
    return 0


def _fail(message: object, status: int) -> int:
    print(f"gpt: {message}", file=sys.stderr)
    return status


def _parse(arguments: list[str]) -> _Command:
    """The command that the arguments ask for. Malformed arguments exit with status 2 and a hint."""
    import tyro

    start = _Start()
    if arguments[0] == "train":
        start, _ = _tyro_cli(_Start, args=arguments[1:], return_unknown_args=True, add_help=False)
    config = load_config(start.preset, start.config)
    # A field without a value becomes positional: `paths` must stay without one here.
    train = Train(paths=tyro.MISSING, **_values(config))
    commands: Any = (
        Annotated[Train, tyro.conf.subcommand("train", default=train)]
        | Annotated[Sample, tyro.conf.subcommand("sample")]
        | Annotated[Eval, tyro.conf.subcommand("eval")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Doctor, tyro.conf.subcommand("doctor")]
    )
    command: _Command = _tyro_cli(
        commands,
        args=arguments,
        prog="gpt",
        description="Pre-train a GPT from raw text, and use it. `gpt COMMAND --help` has the options.",
        config=(tyro.conf.PositionalRequiredArgs,),
    )
    return command


def _tyro_cli(*args: Any, **kwargs: Any) -> Any:
    """`tyro.cli`, but raising our UserError for an impossible configuration.

    tyro catches an exception of a dataclass, reports a parsing error of its own, and exits. The
    exception is then in the context of the SystemExit.
    """
    import tyro

    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(*args, **kwargs)
    except SystemExit as stop:
        cause = stop.__context__
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__context__
        if cause is not None:
            raise cause from None
        sys.stderr.write(messages.getvalue())
        raise


def _keep_freed_memory() -> None:
    """Let the C library keep freed memory: the next step allocates the same, otherwise page by page.

    This calls glibc's `mallopt` with numbers from <malloc.h>, and does nothing with another C library.
    Measured on the preset `default`, it saves a tenth of a step's time.
    """
    import ctypes

    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, -1)  # never give the heap's end back
        mallopt(mmap_threshold, 1 << 25)  # smaller blocks come from the heap; the largest value allowed
        mallopt(top_pad, 1 << 24)


def _values(config: TrainConfig) -> dict[str, Any]:
    """The fields of `TrainConfig`, without the options that the command line adds."""
    return {item.name: getattr(config, item.name) for item in fields(TrainConfig)}


def _new_run_dir(preset: str) -> Path:
    """runs/PRESET-001, or the first number that has no run and that no other process prepares one for."""
    from gpt.train.lock import is_locked, preparation_folder

    number = 1
    while (run_dir := _RUNS / f"{preset}-{number:03}").exists() or is_locked(preparation_folder(run_dir)):
        number += 1
    return run_dir


if __name__ == "__main__":
    sys.exit(main())
