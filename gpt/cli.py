"""The command line: `gpt train | sample | eval | export | doctor`.

Each command is a dataclass: its fields are the options, the comments beside them the help. `tyro`
parses, and this module only calls what does the work. `gpt train` takes every field of the
configuration; the defaults that its help shows are those of the preset and the TOML file given.

Exit status: 0; 2 if something that the user gave is wrong (one message on stderr); 1 if the
machine failed (disk full, no permission); 130 if interrupted; 141 if the reader of a pipe left.
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

from gpt.config import TrainConfig
from gpt.config_file import load_config
from gpt.errors import UserError

__all__ = ["main"]

_RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class _Start:
    """Where a configuration comes from."""

    preset: str = "default"
    """default, shakespeare-char-cpu, shakespeare-char-cpu-fast, shakespeare-char, llama-nano, gpt2-124m,
    gpt2-350m, gpt2-774m or gpt2-1558m"""
    config: Path | None = None  # a TOML file, put over the preset; options here are put over both


@dataclass(frozen=True, kw_only=True)
class _Run(_Start):
    """The options of `gpt train` beside the configuration."""

    paths: tuple[str, ...]  # text files, folders, or - for standard input; none: the prose of this Python
    run_dir: Path | None = None  # new folder for everything the run writes; None: runs/PRESET-NUMBER
    resume: Path | None = None  # go on with the interrupted run in this folder; no other option goes with it


# TrainConfig comes first: its __post_init__ is the one to run; the fields of _Run still lead the help.
@dataclass(frozen=True, kw_only=True)
class Train(TrainConfig, _Run):
    """Train a model on text, from raw files to a folder that `gpt sample` can use."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Continue a prompt with a trained model, as it goes."""

    run: Path  # a run folder, or a model folder (ours, or Hugging Face's GPT-2 and Llama)
    prompt: str = ""  # the text to continue (--prompt=-x if it starts with a dash); empty: start a document
    max_tokens: int = 200  # at most this many new tokens
    temperature: float = 0.8  # 0 always takes the likeliest token; 1 draws as the model says
    top_k: int = 0  # draw from the k likeliest tokens; 0: from all
    top_p: float = 1.0  # draw from the likeliest tokens that hold this share of the probability
    min_p: float = 0.0  # drop tokens less likely than this share of the likeliest one's probability
    stop: tuple[str, ...] = ()  # end where one of these texts appears
    seed: int = 0  # the same seed gives the same text
    num_samples: int = 1  # continuations, with the seeds seed, seed + 1, ...


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Measure a model on texts: loss, perplexity, bits per byte."""

    run: Path  # a run folder, or a model folder
    files: tuple[str, ...]  # text files, folders, or - for standard input


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run's model and tokenizer as a Hugging Face model folder."""

    run: Path  # a run folder
    folder: Path  # a new folder


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Tell what this machine can compute with, and try it out: processor, GPU, libraries, who computes what."""


_Command = Train | Sample | Eval | Export | Doctor


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is `sys.argv[1:]` by default. Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a sample may not fit the terminal's encoding
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(_parse(arguments or ["--help"]))
        sys.stdout.flush()
    except UserError as error:
        print(f"gpt: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"gpt: interrupted{stop}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Nobody reads on, as in `gpt sample ... | head`. What is still buffered goes nowhere.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"gpt: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(
            f"gpt: memory: expected room for a step, got: {error or 'none left'}: "
            "lower micro_batch_size or the model's sizes, or use recompute",
            file=sys.stderr,
        )
        return 1
    except Exception as error:
        from tensorgrad.errors import TensorgradError  # not above: it brings NumPy, which the help can do without

        if not isinstance(error, TensorgradError):
            raise
        print(f"gpt: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(arguments: list[str]) -> _Command:
    """The command that the arguments ask for. Exits with status 2, and a hint, where they are malformed."""
    import tyro

    start = _Start()
    if arguments[0] == "train":
        start, _ = _tyro_cli(_Start, args=arguments[1:], return_unknown_args=True, add_help=False)
    config = load_config(start.preset, start.config)
    # Fields without a value become positional, so `paths` must not have one here.
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
    """`tyro.cli`, but an impossible configuration reaches the user in our words alone.

    tyro reports an exception from a nested dataclass as a parsing error of its own and exits. The
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


def _run(command: _Command) -> None:
    match command:
        case Train():
            _train(command)
        case Sample():
            _sample(command)
        case Eval():
            _eval(command)
        case Export():
            _export(command)
        case Doctor():
            _doctor()


def _train(command: Train) -> None:
    if command.resume is not None and replace(command, resume=None) != Train(paths=(), **_values(load_config())):
        raise UserError(
            "--resume: expected no other option, as the run's configuration is in its folder, "
            "got others: leave them out, or start a new run"
        )
    from gpt import train

    _keep_freed_memory()
    # A number is chosen last, as another run may take it until this one has begun.
    run_dir = command.resume or command.run_dir or _new_run_dir(command.preset)
    try:
        if command.resume is not None:
            train.resume(run_dir)
        else:
            config = TrainConfig(**_values(command))
            train.train(config, command.paths or config.data.paths, run_dir)
    except (KeyboardInterrupt, OSError) as stop:
        if isinstance(stop, BrokenPipeError) or not (run_dir / "config.toml").exists():
            raise
        resume = shlex.join(["gpt", "train", "--resume", str(run_dir)])
        go_on = f"; go on from the last checkpoint with: {resume}"
        raise KeyboardInterrupt(go_on) if isinstance(stop, KeyboardInterrupt) else OSError(f"{stop}{go_on}") from None


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed: a step allocates what the last one freed, page by page otherwise.

    glibc's `mallopt`, numbers from <malloc.h>; elsewhere nothing happens. A tenth of a step's time, measured
    on the preset `default`.
    """
    import ctypes

    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, -1)  # never give the heap's end back
        mallopt(mmap_threshold, 1 << 25)  # the largest value it takes: below it, from the heap
        mallopt(top_pad, 1 << 24)


def _sample(command: Sample) -> None:
    if command.num_samples < 1:
        raise UserError(f"--num-samples: expected 1 or more, got {command.num_samples}: raise it")
    import gpt
    from gpt.generate import Sampling, generate
    from tensorgrad import threads

    sampling = Sampling(
        max_tokens=command.max_tokens,
        temperature=command.temperature,
        top_k=command.top_k,
        top_p=command.top_p,
        min_p=command.min_p,
        stop=command.stop,
    )
    with threads():
        loaded = gpt.load(command.run)
        for index in range(command.num_samples):
            if index:
                print("\n---")
            print(command.prompt, end="", flush=True)
            seed = command.seed + index
            for piece in generate(loaded.model, loaded.tokenizer, command.prompt, sampling=sampling, seed=seed):
                print(piece, end="", flush=True)
            print()


def _eval(command: Eval) -> None:
    if not command.files:
        raise UserError("gpt eval: expected one or more text files, got none: name them after the run")
    import gpt
    from gpt.data.corpus import read_corpus
    from gpt.evaluate import evaluate_text
    from tensorgrad import threads

    corpora = [(path, read_corpus([path])) for path in command.files]
    with threads():
        loaded = gpt.load(command.run)
        total = _Total()
        for path, corpus in corpora:
            subtotal = _Total()
            for document in corpus.documents:
                result = evaluate_text(loaded.model, loaded.tokenizer, document.text)
                subtotal = subtotal.plus(result.loss * result.num_tokens, result.num_tokens, result.num_bytes)
            print(f"{path}: {subtotal}")
            total = total.plus(subtotal.nats, subtotal.num_tokens, subtotal.num_bytes)
        if len(corpora) > 1:
            print(f"all: {total}")


def _export(command: Export) -> None:
    from gpt.checkpoint import export

    export(command.run, command.folder)
    print(f"wrote {command.folder}")


def _doctor() -> None:
    import tensorgrad

    if not tensorgrad.doctor():
        raise OSError("doctor: expected known numbers to come out right, got others: see FAILED above")


@dataclass(frozen=True, kw_only=True)
class _Total:
    """The summed loss of several texts."""

    nats: float = 0.0
    num_tokens: int = 0
    num_bytes: int = 0

    def plus(self, nats: float, num_tokens: int, num_bytes: int) -> _Total:
        return _Total(
            nats=self.nats + nats,
            num_tokens=self.num_tokens + num_tokens,
            num_bytes=self.num_bytes + num_bytes,
        )

    def __str__(self) -> str:
        from gpt.evaluate import bits_per_byte, perplexity

        loss = self.nats / self.num_tokens
        return (
            f"loss {loss:.4f} nats per token, perplexity {perplexity(loss):,.2f}, "
            f"{bits_per_byte(self.nats, self.num_bytes):.4f} bits per byte "
            f"({self.num_tokens:,} tokens, {self.num_bytes:,} bytes)"
        )


def _values(config: TrainConfig) -> dict[str, Any]:
    """The configuration's own fields: those of `TrainConfig`, without what the command line adds."""
    return {item.name: getattr(config, item.name) for item in fields(TrainConfig)}


def _new_run_dir(preset: str) -> Path:
    """runs/PRESET-001, or the first number that is free, and that no other process prepares a run for."""
    from gpt.train.lock import is_locked, preparation_folder

    number = 1
    while (run_dir := _RUNS / f"{preset}-{number:03}").exists() or is_locked(preparation_folder(run_dir)):
        number += 1
    return run_dir


if __name__ == "__main__":
    sys.exit(main())
