"""Training on a device: on the stand-in for CuPy always, on a GPU with `-m gpu`."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt import checkpoint, train
from gpt.config import ModelConfig, OptimConfig, TokenizerConfig, TrainConfig
from gpt.errors import UserError
from gpt.model import GPT
from gpt.model.precision import Precision
from gpt.optim import AdamW, rates
from gpt.train.cuda_graph import GraphStep
from gpt.train.metrics import read_metrics
from gpt.train.session import Session
from gpt.train.step import Batch, host_batch, run_step, train_step
from tensorgrad import Key
from tensorgrad.array import cuda_module, to_device
from tensorgrad.errors import DeviceError, TensorgradError
from tensorgrad.kernels import providers
from tensorgrad.kernels.unordered import is_unordered_allowed
from tensorgrad.tree import named_tensors
from tests.cupy_stand_in import installed, memory, syncs
from tests.gpt.models import GPT2, LLAMA

CONFIG = TrainConfig(
    steps=10,
    batch_size=4,
    micro_batch_size=2,
    eval_interval_steps=5,
    eval_batches=1,
    checkpoint_interval_steps=5,
    keep_checkpoints=0,
    log_interval_steps=1,
    model=GPT2,
    tokenizer=TokenizerConfig(kind="bytes"),
    optim=OptimConfig(warmup_steps=2),
)
ON_GPU = pytest.param("gpu", marks=pytest.mark.gpu)


def a_gpu() -> Any:
    """CuPy, if it has a device; else the test is skipped."""
    try:
        return cuda_module()
    except DeviceError as problem:
        pytest.skip(str(problem))


@pytest.fixture(params=["stand-in", ON_GPU])
def cuda(request) -> Iterator[Any]:
    """CuPy's stand-in, or CuPy itself."""
    if request.param == "gpu":
        yield a_gpu()
    else:
        with installed() as module:
            yield module


@pytest.fixture
def without_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run prints no samples at its end: on the stand-in they take as long as its steps."""
    monkeypatch.setattr("gpt.train.run._print_samples", lambda session: None)


def numbers(run_dir: Path) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    return [(r["loss"], r["grad_norm"]) for r in read_metrics(run_dir / "metrics.jsonl") if "loss" in r]


def weights(run_dir: Path) -> dict[str, bytes]:
    return {name: x.numpy().tobytes() for name, x in named_tensors(checkpoint.load(run_dir).model).items()}


@pytest.mark.parametrize("model", [GPT2, LLAMA, replace(LLAMA, dropout=0.1)], ids=["gpt2", "llama", "dropout"])
def test_ten_steps_are_those_of_the_cpu(model, text, tmp_path, cuda):
    config = replace(CONFIG, model=model)
    train.train(config, [str(text)], tmp_path / "cpu")
    run = train.train(replace(config, device="cuda"), [str(text)], tmp_path / "cuda")
    assert run.model.embedding.tokens.device == "cuda:0"
    ours, theirs = numbers(tmp_path / "cuda"), numbers(tmp_path / "cpu")
    assert len(ours) == 10
    np.testing.assert_allclose(ours, theirs, rtol=3e-5)


@pytest.mark.usefixtures("without_samples")
@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_a_step_waits_for_nothing(precision, text, tmp_path, monkeypatch, cupy):
    """A step never waits, from its batch to the download of its numbers. Only reading them, a step later, does."""
    advance = Session.advance

    def advance_without_waiting(session):
        with syncs.forbidden():
            return advance(session)

    monkeypatch.setattr(Session, "advance", advance_without_waiting)
    config = replace(CONFIG, device="cuda", precision=precision, steps=4)
    train.train(config, [str(text)], tmp_path / "run")
    assert len(numbers(tmp_path / "run")) == 4


@pytest.mark.parametrize(
    ("precision", "dropout", "optimizer"),
    [("float32", 0.0, "adamw"), ("fp16", 0.0, "adamw"), ("fp16", 0.2, "adamw"), ("float32", 0.0, "muon")],
)
@pytest.mark.usefixtures("without_samples")
def test_a_step_can_be_captured(precision, dropout, optimizer, text, tmp_path, cupy):
    """A recorded step neither waits nor copies from or to the host, and equals the eager step."""
    text.write_text(text.read_text()[:1500])  # the last evaluation reads a tenth of it
    model, optim = replace(GPT2, dropout=dropout), replace(CONFIG.optim, optimizer=optimizer)
    config = replace(CONFIG, device="cuda", precision=precision, model=model, optim=optim, steps=6, threads=2)
    train.train(config, [str(text)], tmp_path / "eager")
    train.train(replace(config, cuda_graph=True), [str(text)], tmp_path / "graph")
    assert numbers(tmp_path / "eager") == numbers(tmp_path / "graph")
    assert weights(tmp_path / "eager") == weights(tmp_path / "graph")


def test_a_graph_gets_the_memory_that_eager_steps_took(cuda):
    """A graph has a pool of its own, so what the other one keeps unused is given back before the capture."""
    pool, size, unused, totals = cuda.get_default_memory_pool(), 1 << 22, [], []

    def run(arrays):
        unused.append(pool.free_bytes())
        y_N = arrays["x_N"] + 1
        return (y_N * y_N + 0 * y_N).sum()

    step = GraphStep(run)
    with cuda.cuda.Stream(non_blocking=True) as stream:
        x_N = cuda.ones(size // 4, np.float32)
        for number in range(4):
            x_N[...] = number
            found = step({"x_N": x_N})
            totals.append(pool.total_bytes() - pool.used_bytes())
            stream.synchronize()
            assert float(found) == x_N.size * (number + 1) ** 2
    assert unused[1] >= 3 * size  # of the first step
    assert len(unused) == 3
    assert unused[2] < size  # while it is recorded
    assert max(totals[2:]) < size


def test_what_a_graph_cannot_hold_is_refused(text, tmp_path, monkeypatch, cupy):
    def looking(session, arrays):
        report_3 = run_step(
            session.model,
            session.optimizer,
            Batch(**arrays),
            micro_batch_size=2,
            is_recomputed=False,
        )
        assert float(report_3[0]) > 0
        return report_3

    monkeypatch.setattr(Session, "_run_step", looking)
    config = replace(CONFIG, device="cuda", steps=3, cuda_graph=True)
    with pytest.raises(UserError, match=r"cuda_graph: .* float: cudaErrorStreamCaptureUnsupported"):
        train.train(config, [str(text)], tmp_path / "run")


def test_every_step_asks_for_the_same_memory(cupy):
    """Equal steps allocate equal blocks, so that from the second step on a pool has all of them."""
    config = replace(LLAMA, vocab_size=50, dropout=0.1)
    model = GPT.init(config, Key(0), dtype="fp16").to("cuda")
    optimizer = AdamW(model, OptimConfig(), is_loss_scaled=True)
    asked = []
    for number in range(1, 5):
        ids = np.random.default_rng(number).integers(0, 50, (4, 17))
        sizes = {"vocab_size": 50, "micro_batch_size": 2}
        keys = Key(number).split(4)
        values = host_batch(ids[:, :-1], ids[:, 1:], rates(optimizer.config, 1e-3, number), **sizes, keys=keys)
        batch = Batch(**{name: to_device(value, "cuda") for name, value in values.items()})
        seen = []
        with cupy.cuda.using_allocator(lambda size, seen=seen: seen.append(size) or memory.pool.malloc(size)):
            run_step(model, optimizer, batch, micro_batch_size=2, is_recomputed=True)
        asked.append(seen)
    assert len(asked[1]) > 100
    assert asked[1] == asked[2] == asked[3]


def test_a_step_by_our_own_kernels_waits_for_nothing(cupy_kernels):
    config = replace(GPT2, vocab_size=50, context_length=8, num_layers=1)
    model = GPT.init(config, Key(0)).to("cuda")
    optimizer = AdamW(model, OptimConfig())
    ids = np.random.default_rng(0).integers(0, 50, (2, 9))
    values = host_batch(ids[:, :-1], ids[:, 1:], rates(optimizer.config, 1e-3, 1), vocab_size=50, micro_batch_size=2)
    batch = Batch(**{name: to_device(value, "cuda") for name, value in values.items()})
    run_step(model, optimizer, batch, micro_batch_size=2, is_recomputed=False)  # this chooses providers
    with syncs.forbidden(), providers.requiring_fast():
        report_3 = run_step(model, optimizer, batch, micro_batch_size=2, is_recomputed=False)
    assert {kernel.source for kernel in cupy_kernels.launched} >= {
        "norm.cu",
        "softmax.cu",
        "optimizer.cu",
        "scatter.cu",
    }
    twin = GPT.init(config, Key(0))
    twins = AdamW(twin, OptimConfig())
    arguments = {"micro_batch_size": 2, "learning_rate": 1e-3, "number": 1}
    for _ in range(2):
        expected = train_step(twin, twins, ids[:, :-1], ids[:, 1:], **arguments)
    np.testing.assert_allclose(report_3.get()[:2], expected, rtol=3e-5)


@pytest.mark.usefixtures("without_samples")
def test_a_run_by_our_own_kernels_falls_back_nowhere(text, tmp_path, monkeypatch, cupy_kernels):
    text.write_text(text.read_text()[:800])  # the last evaluation reads a tenth of it
    model = replace(LLAMA, num_layers=1, dropout=0.1)
    config = replace(CONFIG, device="cuda", require_fast=True, steps=1, batch_size=1, micro_batch_size=1, model=model)
    train.train(config, [str(text)], tmp_path / "fast")
    assert not providers.fallbacks()
    monkeypatch.setattr("tensorgrad.kernels.cuda.norm._MAX_SHARED_BYTES", 0)
    with pytest.raises(DeviceError, match="kernels: expected cuda, as the fast provider is required, got reference"):
        train.train(config, [str(text)], tmp_path / "refused")
    assert not checkpoint.checkpoints(tmp_path / "refused")


@pytest.mark.usefixtures("without_samples")
def test_the_same_command_gives_the_same_weights(text, tmp_path, cuda):
    config = replace(CONFIG, device="cuda")
    for name in ("a", "b"):
        train.train(config, [str(text)], tmp_path / name)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")


@pytest.mark.parametrize("is_unordered", [False, True])
def test_attention_is_unordered_only_where_the_run_says_so(is_unordered, text, tmp_path, monkeypatch, capsys, cupy):
    """In the trial and in each step, not in the samples after them."""
    seen = []
    for name in ("try_out", "advance"):
        run = getattr(Session, name)
        monkeypatch.setattr(Session, name, lambda self, run=run: (seen.append(is_unordered_allowed()), run(self))[1])
    monkeypatch.setattr("gpt.train.run._print_samples", lambda session: seen.append(is_unordered_allowed()))
    train.train(replace(CONFIG, device="cuda", steps=2, unordered=is_unordered), [str(text)], tmp_path / "run")
    assert seen == [*[is_unordered] * 3, False]
    output = capsys.readouterr()
    assert ("unordered: cuDNN sums" in output.out + output.err) == is_unordered


@pytest.mark.usefixtures("without_samples")
def test_a_resumed_run_ends_like_an_uninterrupted_one(text, tmp_path, cuda):
    config = replace(CONFIG, device="cuda")
    train.train(config, [str(text)], tmp_path / "run")
    expected = weights(tmp_path / "run")
    checkpoint.checkpoints(tmp_path / "run")[-1].rename(tmp_path / "last")
    train.resume(tmp_path / "run")
    assert weights(tmp_path / "run") == expected


@pytest.mark.usefixtures("without_samples")
def test_fp16_scales_its_loss(text, tmp_path, monkeypatch, cuda):
    monkeypatch.setattr("gpt.optim.adamw.FIRST", 2.0**28)
    train.train(replace(CONFIG, device="cuda", precision="fp16", steps=20), [str(text)], tmp_path / "run")
    state = checkpoint.load_training_state(tmp_path / "run").arrays["loss_scale"]
    is_finite = [math.isfinite(norm) for _, norm in numbers(tmp_path / "run")]
    assert not is_finite[0]
    assert is_finite[-1]
    assert state[0] == 2.0**28 / 2 ** is_finite.count(False)


def test_what_is_slow_is_refused_before_the_first_step(text, tmp_path, cupy):
    def missing() -> None:
        raise ImportError("No module named 'fast'")

    providers.forget()
    try:
        providers.choose("gemm", [("fast", missing), ("slow", lambda: None)])
        with pytest.raises(DeviceError, match=r"gemm: expected fast, as the fast provider is required, got slow"):
            train.train(replace(CONFIG, device="cuda", require_fast=True), [str(text)], tmp_path / "run")
    finally:
        providers.forget()
    assert not checkpoint.checkpoints(tmp_path / "run")


def test_a_device_that_is_not_there_leaves_nothing_behind(text, tmp_path):
    if importlib.util.find_spec("cupy"):
        pytest.skip("CuPy is installed")
    with pytest.raises(TensorgradError, match="device cuda: "):
        train.train(replace(CONFIG, device="cuda"), [str(text)], tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def gradients(config: ModelConfig, precision: str, device: str, ids: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients of a new model."""
    model = GPT.init(config, Key(0), dtype=Precision.of(precision, device)).to(device)
    loss = model.loss(ids[:, :-1], ids[:, 1:])
    loss.backward()
    return loss.item(), {name: x.grad.numpy() for name, x in named_tensors(model).items()}


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_the_gradients_of_a_whole_model(config, cuda):
    """float64 on the device against float64 on the CPU, every element."""
    config = replace(config, vocab_size=100)
    ids = np.random.default_rng(0).integers(0, 100, (3, 17))
    loss, ours = gradients(config, "float64", "cuda", ids)
    expected_loss, theirs = gradients(config, "float64", "cpu", ids)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for name, g in theirs.items():
        np.testing.assert_allclose(ours[name], g, rtol=0, atol=1e-11 * np.abs(g).max(), err_msg=name)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_gradients_of_a_whole_model_in_16_bits(precision, cuda):
    """Every parameter's gradient has the direction of float64's."""
    if precision == "bf16":
        pytest.importorskip("ml_dtypes")
    config = replace(GPT2, vocab_size=100)
    ids = np.random.default_rng(0).integers(0, 100, (3, 17))
    loss, ours = gradients(config, precision, "cuda", ids)
    expected_loss, theirs = gradients(config, "float64", "cpu", ids)
    assert loss == pytest.approx(expected_loss, rel=2e-3)
    for name, g in theirs.items():
        # A bias that all keys share changes no weight of attention: its gradient is rounding.
        part = slice(0, config.model_dim) if name.endswith("qkv.bias") else slice(None)
        a, b = ours[name][part].ravel(), g[part].ravel()
        assert a @ b > 0.99 * np.linalg.norm(a) * np.linalg.norm(b), name


# --- only on a GPU -----------------------------------------------------------------------------

WIDE = replace(GPT2, context_length=128, num_layers=4, num_heads=4, model_dim=256)


@pytest.mark.gpu
def test_fifty_steps_in_bfloat16_learn_what_float32_learns_on_the_cpu(text, tmp_path, record_property):
    a_gpu()
    config = replace(CONFIG, steps=50, eval_interval_steps=0, model=WIDE)
    text.write_text("".join(f"{i} squared is {i * i}, and cubed it is {i**3}.\n" for i in range(3000)))
    train.train(config, [str(text)], tmp_path / "cpu")
    train.train(replace(config, device="cuda", precision="bf16"), [str(text)], tmp_path / "gpu")
    ours, theirs = ([loss for loss, _ in numbers(tmp_path / name)] for name in ("gpu", "cpu"))
    record_property("losses_bf16_gpu", ours)
    record_property("losses_float32_cpu", theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0.02)
    assert np.abs(np.subtract(ours, theirs)).mean() < 0.01
    assert ours[-1] < ours[0] - 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize(("dropout", "optimizer"), [(0.0, "adamw"), (0.1, "adamw"), (0.0, "muon")])
def test_a_recorded_step_is_the_step_bit_for_bit(precision, dropout, optimizer, text, tmp_path):
    a_gpu()
    model, optim = replace(WIDE, dropout=dropout), replace(CONFIG.optim, optimizer=optimizer)
    config = replace(CONFIG, device="cuda", precision=precision, model=model, optim=optim, steps=12, threads=2)
    train.train(config, [str(text)], tmp_path / "eager")
    train.train(replace(config, cuda_graph=True), [str(text)], tmp_path / "graph")
    assert numbers(tmp_path / "eager") == numbers(tmp_path / "graph")
    assert weights(tmp_path / "eager") == weights(tmp_path / "graph")


@pytest.mark.gpu
def test_bfloat16_runs_are_the_same_bit_for_bit(text, tmp_path):
    a_gpu()
    for name in ("a", "b"):
        train.train(replace(CONFIG, device="cuda", precision="bf16", model=WIDE), [str(text)], tmp_path / name)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.gpu
def test_steps_ask_the_driver_for_no_more_memory(record_property):
    """After two steps CuPy's pool has all blocks that later steps ask for, so there is no need for an arena."""
    cupy = a_gpu()
    config = replace(WIDE, vocab_size=1000)
    model = GPT.init(config, Key(0), dtype=Precision.of("bf16", "cuda")).to("cuda")
    optimizer = AdamW(model, OptimConfig())
    ids = np.random.default_rng(0).integers(0, 1000, (8, 129))
    sizes = []
    for number in range(1, 9):
        arguments = {"micro_batch_size": 4, "learning_rate": 1e-3, "number": number}
        train_step(model, optimizer, ids[:, :-1], ids[:, 1:], **arguments)
        sizes.append(cupy.get_default_memory_pool().total_bytes())
    record_property("pool_bytes", sizes)
    assert len(set(sizes[2:])) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_all_reduce_of_one_rank_changes_nothing(dtype):
    cupy = a_gpu()
    nccl = pytest.importorskip("cupy.cuda.nccl")
    x = cupy.random.default_rng(0).standard_normal(100_003, dtype=cupy.float32)
    x = x if dtype == "float32" else x.astype(pytest.importorskip("ml_dtypes").bfloat16)
    out = cupy.zeros_like(x)
    communicator = nccl.NcclCommunicator(1, nccl.get_unique_id(), 0)
    kind = nccl.NCCL_FLOAT32 if dtype == "float32" else 9  # ncclBfloat16, which some versions of CuPy do not name
    communicator.allReduce(x.data.ptr, out.data.ptr, x.size, kind, nccl.NCCL_SUM, cupy.cuda.get_current_stream().ptr)
    assert out.get().tobytes() == x.get().tobytes()
