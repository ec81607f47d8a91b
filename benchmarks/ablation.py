"""What each choice in a preset is worth: the preset against itself with one thing changed, over several seeds.

    python benchmarks/ablation.py tinyshakespeare.txt                  # the preset shakespeare-char-cpu-fast
    python benchmarks/ablation.py tinyshakespeare.txt --only adamw --equal time
    python benchmarks/ablation.py --preset default --length 0.1        # a tenth of its steps, on this Python's prose

The seed decides the initialisation and the batches; a change is compared with the base of the same seed. At equal steps
both see the same text. At equal time a change that makes steps cheaper gets more of them; the cost of a step is
measured first, in turns. The loss is over all held-out text. A difference counts if it is large beside `error`, the
standard error of its mean over the seeds. The results are benchmarks/results/ablation_*.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.record import store
from gpt.config import TrainConfig
from gpt.config_file import load_config
from gpt.data import TokenData
from gpt.data.corpus import read_corpus
from gpt.data.tokenizer import load_tokenizer
from gpt.evaluate import evaluate_tokens
from gpt.model import GPT
from gpt.model.initializer import INIT_STD
from gpt.optim import make_optimizer
from gpt.optim.schedule import learning_rate
from gpt.train import train_step
from gpt.train.run import _prepare
from tensorgrad import Key, threads
from tensorgrad.tree import named_tensors

TIMED_STEPS = 12


@dataclass(frozen=True)
class Change:
    """One thing changed.

    Attributes:
        values: of the configuration.
        begin: changes the initialised model.
        muon: replaced names of the module with Muon.
        length: of the run over the base's; a change of the batch size keeps the amount of text with it.
    """

    values: dict[str, Any] = field(default_factory=dict)
    begin: Callable[[GPT], None] | None = None
    muon: dict[str, Any] = field(default_factory=dict)
    length: float = 1.0


def zero_projections(model: GPT) -> None:
    """Each residual branch begins with an output of zeros (muP; modded-nanogpt)."""
    for name, x in named_tensors(model).items():
        if name.endswith(("attention.out.weight", "mlp.down.weight")):
            x.data = 0 * x.data


def drawn_tables(model: GPT) -> None:
    """The tables of n-grams begin with random numbers, as the other parameters do."""
    for number, table in enumerate(model.embedding.ngrams):
        table.data = INIT_STD * Key(1).fold_in(number).normal(table.shape)


def larger_embeddings(model: GPT) -> None:
    model.embedding.tokens.data = 2.5 * model.embedding.tokens.data


def one_map(name: str, rows: int, columns: int) -> list[slice]:
    """Orthogonalise queries, keys and values as one matrix."""
    return [slice(0, rows)]


SHAKESPEARE = {
    # without something that the preset has
    "adamw": Change({"optim.optimizer": "adamw"}),
    "adamw, half its rate": Change({"optim.optimizer": "adamw", "optim.learning_rate": 3e-3}),
    "adamw, twice its rate": Change({"optim.optimizer": "adamw", "optim.learning_rate": 12e-3}),
    "queries, keys, values as one": Change(muon={"_maps": one_map}),
    "momentum 0.95": Change({"optim.muon_momentum": 0.95}),
    "no n-grams, 4 layers": Change({"model.ngram_length": 1, "model.num_layers": 4}),
    "pairs alone": Change({"model.ngram_length": 2, "model.ngram_rows": 3072}),
    "drawn tables": Change(begin=drawn_tables),
    "learned positions": Change({"model.positions": "learned"}),
    "layer_norm": Change({"model.norm": "layer_norm"}),
    "gelu": Change({"model.activation": "gelu"}),
    "no qk_norm": Change({"model.qk_norm": False}),
    "decay to nothing": Change(
        {"optim.schedule": "warmup_stable_decay", "optim.min_learning_rate_ratio": 0.0, "optim.decay_steps": 100}
    ),
    # with something that it does not have
    "1 layer, 1536 rows": Change({"model.num_layers": 1, "model.ngram_rows": 1536}),
    "up to 5-grams": Change({"model.ngram_length": 5, "model.ngram_rows": 768}),
    "3 iterations": Change(muon={"_ITERATIONS": 3}),
    "zero projections": Change(begin=zero_projections),
    "larger embeddings": Change(begin=larger_embeddings),
    "untied head": Change({"model.is_head_tied": False}),
    "soft cap 15": Change({"model.logit_soft_cap": 15.0}),
    "swiglu": Change({"model.activation": "swiglu"}),
    "half the batch": Change({"batch_size": 6}, length=2.0),
    "muon's rate x 1.5": Change({"optim.muon_learning_rate": 0.03}),
    "adamw's rate x 1.5": Change({"optim.learning_rate": 9e-3}),
}
DEFAULT = {
    "adamw": Change({"optim.optimizer": "adamw", "optim.learning_rate": 2e-3, "optim.beta2": 0.95}),
    "4 layers": Change({"model.num_layers": 4}),
    "batches of 4": Change({"batch_size": 4}, length=2.0),
    "batches of 16": Change({"batch_size": 16}, length=0.5),
    "pairs, 16384 rows": Change({"model.ngram_length": 2, "model.ngram_rows": 16384}),
    "relu_squared": Change({"model.activation": "relu_squared"}),
    "no qk_norm": Change({"model.qk_norm": False}),
    "momentum 0.95": Change({"optim.muon_momentum": 0.95}),
    "cosine": Change({"optim.schedule": "cosine"}),
    "beta2 0.95": Change({"optim.beta2": 0.95}),
    "muon's rate x 1.5": Change({"optim.muon_learning_rate": 0.03}),
    "adamw's rate x 1.5": Change({"optim.learning_rate": 6e-3}),
}
CHANGES = {"shakespeare-char-cpu-fast": SHAKESPEARE, "default": DEFAULT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="the text; by default the prose of this Python installation")
    parser.add_argument("--preset", default="shakespeare-char-cpu-fast", choices=CHANGES)
    parser.add_argument("--only", nargs="*", help="make only these changes", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--length", type=float, default=1.0, help="length of all runs over the preset's")
    parser.add_argument("--threads", type=int, help="by default one for each core")
    parser.add_argument("--equal", choices=("steps", "time"), default="steps")
    parser.add_argument("--name", default="", help="ending for the name of the result's file")
    arguments = parser.parse_args()
    changes = CHANGES[arguments.preset]
    chosen = {name: changes[name] for name in arguments.only or changes}
    with tempfile.TemporaryDirectory() as folder, threads(arguments.threads):
        base = scaled(load_config(arguments.preset), arguments.length)
        base = _prepare(base, read_corpus(arguments.paths), Path(folder))
        lab = Lab(arguments.preset, base, Path(folder) / "data", arguments.seeds, arguments.length)
        name = f"ablation_{arguments.preset}" + ("_equal_time" if arguments.equal == "time" else "") + arguments.name
        for result in lab.compare(chosen, is_equal_time=arguments.equal == "time"):
            path = store(name, result, ("numpy", "numba", "onednn-cpu-gomp"))
    print(path)


class Lab:
    """Runs any configuration on one set of data."""

    def __init__(self, preset: str, base: TrainConfig, folder: Path, num_seeds: int, length: float) -> None:
        self.preset, self.base, self.seeds, self.length = preset, base, range(num_seeds), length
        tokenizer = load_tokenizer(folder)
        self.data, self.heldout = (TokenData.open(folder, part, tokenizer) for part in ("train", "heldout"))

    def compare(self, changes: dict[str, Change], *, is_equal_time: bool) -> Iterator[dict[str, Any]]:
        """Yield the result so far after each change."""
        base = [self.run(self.base, Change(), seed) for seed in self.seeds]
        print(f"{'base':32} {statistics.mean(base):.4f}", flush=True)
        rows = {}
        for name, change in changes.items():
            config = self.changed(change)
            ratio = self.cost_ratio(config, change)
            if is_equal_time:
                config = scaled(config, self.base.steps / config.steps / ratio)
            losses = [self.run(config, change, seed) for seed in self.seeds]
            differences = [loss - of_base for loss, of_base in zip(losses, base, strict=True)]
            row = rows[name] = {
                "values": change.values,
                "steps": config.steps,
                "parameters": config.model.num_parameters,
                "losses": [round(loss, 4) for loss in losses],
                "difference": round(statistics.mean(differences), 4),
                "error": round(statistics.stdev(differences) / len(differences) ** 0.5, 4) if losses[1:] else None,
                "step_cost_ratio": round(ratio, 2),
            }
            print(f"{name:32} {row['difference']:+.4f} +- {row['error']}  step x {row['step_cost_ratio']}", flush=True)
            yield {
                "equal": "time" if is_equal_time else "steps",
                "steps": self.base.steps,
                "base": [round(loss, 4) for loss in base],
                "changes": rows,
            }

    def changed(self, change: Change) -> TrainConfig:
        config = load_config(self.preset, overrides=change.values)
        config = replace(config, model=config.model.with_vocabulary(self.base.model.vocab_size))
        return scaled(config, self.length * change.length)

    def cost_ratio(self, config: TrainConfig, change: Change) -> float:
        """The median CPU time of the change's step over the base's; the two take turns."""
        ours, theirs = (Stepper(c, change_, self.data, 0) for c, change_ in ((config, change), (self.base, Change())))
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(TIMED_STEPS):
            for stepper, seconds in zip((ours, theirs), times, strict=True):
                started = time.process_time()
                stepper.advance()
                seconds.append(time.process_time() - started)
        return statistics.median(times[0]) / statistics.median(times[1])

    def run(self, config: TrainConfig, change: Change, seed: int) -> float:
        """Train once; the loss on all held-out text."""
        stepper = Stepper(config, change, self.data, seed)
        for _ in range(config.steps):
            stepper.advance()
        return evaluate_tokens(stepper.model, self.heldout, 64).loss


class Stepper:
    """A training run, step by step."""

    def __init__(self, config: TrainConfig, change: Change, data: TokenData, seed: int) -> None:
        self.config, self.change, self.data, self.seed, self.number = config, change, data, seed, 0
        self.model = GPT.init(config.model, Key(seed).fold_in(0))
        if change.begin is not None:
            change.begin(self.model)
        with self.patched():
            self.optimizer = make_optimizer(self.model, config.optim)

    def patched(self) -> Any:
        return mock.patch.multiple("gpt.optim.muon", **self.change.muon) if self.change.muon else nullcontext()

    def advance(self) -> None:
        config = self.config
        ids_BT, targets_BT = self.data.batch(
            Key(self.seed).fold_in(1), self.number, config.batch_size, config.model.context_length
        )
        with self.patched():
            train_step(
                self.model,
                self.optimizer,
                ids_BT,
                targets_BT,
                micro_batch_size=config.micro_batch,
                learning_rate=learning_rate(config.optim, self.number, config.steps),
                number=self.number + 1,
            )
        self.number += 1


def scaled(config: TrainConfig, factor: float) -> TrainConfig:
    """The configuration with `factor` times as many steps, and as many steps of decay."""
    steps, decay = (round(number * factor) for number in (config.steps, config.optim.decay_steps))
    return replace(config, steps=steps, optim=replace(config.optim, decay_steps=decay))


if __name__ == "__main__":
    main()
