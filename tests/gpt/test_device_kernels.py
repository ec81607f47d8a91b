"""A whole training step on a device, kernel by kernel: CUDA sources in the shim, products by their plans."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpt.config import ModelConfig, OptimConfig
from gpt.model import GPT
from gpt.optim import AdamW, rates
from gpt.train.cuda_graph import GraphStep
from gpt.train.step import Batch, host_batch, run_step
from tensorgrad import Key
from tensorgrad.array import cuda_module, to_device
from tensorgrad.kernels import cuda_kernels, providers
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention.choice import provider_for
from tensorgrad.kernels.gemm import cuda
from tensorgrad.kernels.gemm.cublaslt import CublasLt
from tensorgrad.random import as_pairs
from tests.cupy_stand_in import cublaslt, syncs
from tests.gpt import models
from tests.tensorgrad.kernels.cuda.attention import fake_cudnn

GPT2, LLAMA = (replace(config, vocab_size=37) for config in (models.GPT2, models.LLAMA))
KERNELS = {"take_rows", "cross_entropy", "cross_entropy_gradient", "add_runs", "adamw", "squares", "root_of_sum"}
OWN = {
    "gpt2": KERNELS | {"layer_norm", "layer_norm_gradient", "gelu_tanh", "gelu_tanh_again"},
    "llama": KERNELS | {"rms_norm", "rms_norm_gradient", "swiglu", "swiglu_again", "rope"},
}
STEPS = 10


def train(
    config: ModelConfig, device: str, num_steps: int = STEPS, dtype: str = "float32", *, tries: bool = False
) -> np.ndarray:
    """Loss and gradient norm of each step. A step on a device neither waits nor copies.

    With `tries` the first step may wait, for algorithms that are tried.
    """
    model = GPT.init(config, Key(0), dtype=dtype).to(device)
    optimizer = AdamW(model, OptimConfig(), is_loss_scaled=dtype == "fp16")
    rng = np.random.default_rng(0)
    reports = []
    for number in range(1, num_steps + 1):
        ids = rng.integers(0, config.vocab_size, (2, config.context_length + 1))
        numbers = rates(optimizer.config, 1e-3, number)
        sizes = {"vocab_size": config.vocab_size, "micro_batch_size": 2}
        keys = Key(number).split(2) if config.dropout else ()
        values = host_batch(ids[:, :-1], ids[:, 1:], numbers, **sizes, keys=keys)
        batch = Batch(**{name: to_device(value, device) for name, value in values.items()})
        copied = syncs.copies.copy()
        with syncs.forbidden(not tries or number > 1):
            report_3 = run_step(model, optimizer, batch, micro_batch_size=2, is_recomputed=number % 5 == 0)
        assert number == 1 or syncs.copies == copied  # the first step makes RoPE's tables
        reports.append(report_3 if device == "cpu" else report_3.get())
    return np.array(reports)[:, :2]


@pytest.mark.parametrize(("name", "config"), [("gpt2", GPT2), ("llama", LLAMA)])
def test_ten_steps_are_numpy_s(name, config, cupy_kernels):
    like = to_device(np.zeros(1, np.float32), "cuda")
    cuda_kernels(), provider_for(like)  # their self-tests wait
    cupy_kernels.launched.clear()
    on_device = train(config, "cuda")
    launched = Counter(kernel.name for kernel in cupy_kernels.launched)
    assert OWN[name] <= launched.keys()
    assert all(choice.rejected == () for choice in providers.choices())
    assert not providers.fallbacks()
    on_cpu = train(config, "cpu")
    np.testing.assert_allclose(on_device[:, 0], on_cpu[:, 0], rtol=1e-6)
    np.testing.assert_allclose(on_device[:, 1], on_cpu[:, 1], rtol=1e-5)
    assert {choice.need: choice.chosen for choice in providers.choices()} == {
        "kernels": "cuda",
        "attention in float32": "plain",
    }


def test_a_step_in_16_bits_is_numpy_s(cupy_kernels):
    """Activations and products are narrow. One kernel rounds the parameters, later their update does."""
    like = to_device(np.zeros(1, np.float16), "cuda")
    cuda_kernels(), provider_for(like)
    cupy_kernels.launched.clear()
    on_device = train(LLAMA, "cuda", 2, "fp16")
    launched = [kernel for kernel in cupy_kernels.launched if kernel.name == "cast"]
    narrowing = [kernel for kernel in launched if kernel.defines["TARGET"] == "Float16"]
    assert len(narrowing) == 3  # the other casts are of the embedded tokens
    assert {kernel.defines["COPY"] for kernel in cupy_kernels.launched if kernel.name == "adamw"} == {"Float16"}
    assert "attention_flash.cu" in {kernel.source for kernel in cupy_kernels.launched}
    np.testing.assert_allclose(on_device, train(LLAMA, "cpu", 2, "fp16"), rtol=2e-3)


def test_steps_with_dropout_are_numpy_s(cupy_kernels):
    """Kernels, attention's too, draw the same random numbers as the CPU."""
    config = replace(LLAMA, dropout=0.2, qk_norm=True)
    like = to_device(np.zeros((1, 2, 16, 16), np.float32), "cuda")
    # The first call tries the kernels out, and waits for them.
    attending = Attending(is_causal=True, scale=1.0, dropout=(as_pairs(Key(0), "cuda"), 0.2))
    cuda_kernels().attention(like, like, like, attending)
    cupy_kernels.launched.clear()
    on_device = train(config, "cuda", 2)
    launched = {kernel.name: kernel.defines for kernel in cupy_kernels.launched}
    assert "dropout" in launched
    assert {launched[name]["DROPOUT"] for name in launched if name.startswith("attention_")} == {1}
    assert not providers.fallbacks()
    np.testing.assert_allclose(on_device, train(config, "cpu", 2), rtol=1e-5)


# The epilogues that cublasLt may lack, by dtype, and our kernels that replace them.
IN_ITS_PLACE = {
    ("BIAS", "float32"): {"fill_rows"},
    ("BGRADB", "float32"): {"column_sums", "add_partials"},
    ("BIAS", "fp16"): {"fill_rows"},
    ("BGRADB", "fp16"): {"column_sums", "add_partials"},
    ("GELU_AUX_BIAS", "fp16"): {"gelu_tanh"},
    ("DGELU", "fp16"): {"gelu_tanh_again"},
}


@pytest.mark.parametrize(("lacking", "dtype"), [*IN_ITS_PLACE, ("all", "float32"), ("all", "fp16")])
def test_a_step_without_an_epilogue_is_fast_and_numpy_s(
    lacking: str, dtype: str, cupy_kernels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A kernel of ours does each epilogue that cublasLt has no algorithm for, and this counts as no fallback."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = replace(GPT2, num_layers=1)
    names = {name for name, _ in IN_ITS_PLACE} if lacking == "all" else {lacking}
    expected = set().union(*(IN_ITS_PLACE[name, dtype] for name in names if (name, dtype) in IN_ITS_PLACE))
    with cublaslt.standing_in() as binding, cuda.running_with(CublasLt()), providers.requiring_fast():
        binding.num_proposals = 1
        binding.lacking = {cublaslt.EPILOGUES[name] for name in names}
        cuda_kernels(), provider_for(to_device(np.zeros(1, np.float32), "cuda"))
        if dtype == "fp16":
            monkeypatch.setitem(sys.modules, "cudnn", fake_cudnn)
            provider_for(to_device(np.zeros(1, np.float16), "cuda"))
        cupy_kernels.launched.clear()
        on_device = train(config, "cuda", 2, dtype, tries=True)
    run = {name for name, number in cublaslt.EPILOGUES.items() if binding.epilogues[number]}
    assert run >= {name for name, of in IN_ITS_PLACE if of == dtype and name not in names}
    assert not run & names
    assert expected <= {kernel.name for kernel in cupy_kernels.launched}
    assert not providers.fallbacks()
    np.testing.assert_allclose(on_device, train(config, "cpu", 2, dtype), rtol=2e-3 if dtype == "fp16" else 1e-5)


def test_a_graph_of_kernels_draws_new_numbers_in_each_launch(cupy_kernels):
    """Each step has the eager step's loss and norm, bit for bit; from the third on it is one graph."""
    config = replace(LLAMA, num_layers=1, dropout=0.2)
    runs = []
    for is_recorded in (False, True):
        model = GPT.init(config, Key(0), dtype="fp16").to("cuda")
        optimizer = AdamW(model, OptimConfig(), is_loss_scaled=True)

        def run(arrays, model=model, optimizer=optimizer):
            return run_step(model, optimizer, Batch(**arrays), micro_batch_size=1, is_recomputed=False)

        step, reports = GraphStep(run) if is_recorded else run, []
        ids = np.random.default_rng(0).integers(0, config.vocab_size, (2, 9))
        with cuda_module().cuda.Stream(non_blocking=True):
            for number in range(1, 6):
                sizes = {"vocab_size": config.vocab_size, "micro_batch_size": 1}
                numbers = rates(optimizer.config, 1e-3, number)
                values = host_batch(ids[:, :-1], ids[:, 1:], numbers, **sizes, keys=Key(number).split(2))
                reports.append(step({name: to_device(value, "cuda") for name, value in values.items()}).get())
        runs.append(np.array(reports))
    np.testing.assert_array_equal(*runs)
    assert len(set(runs[0][:, 0])) == 5
