"""The README's Python examples run exactly as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[-2])
def test_an_example_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "runs/default-001" in block:
        (tmp_path / "text.txt").write_text("Return the number of items in the container. " * 60)
        monkeypatch.chdir(tmp_path)
        from gpt.cli import main

        small = ["--steps", "1", "--model.num-layers", "1", "--model.context-length", "32", "--tokenizer.kind", "bytes"]
        assert main(["train", "text.txt", *small]) == 0
    exec(compile(block, "README.md", "exec"), {})


def test_there_are_examples_of_both_packages() -> None:
    assert len(BLOCKS) == 6
    assert any("check_grads" in block and len(block.strip().split("\n")) <= 16 for block in BLOCKS)


def test_a_gradient_is_on_the_first_screen() -> None:
    assert ".backward()" in "\n".join(README.split("\n")[:24])


def test_the_losses_of_a_model_of_your_own_are_those_in_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (block for block in BLOCKS if "class Network" in block)
    exec(compile(block, "README.md", "exec"), {})
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    stated = README.partition(block)[2].partition("It prints the loss at")[2].partition(". `OptimConfig`")[0]
    expected = [float(number) for number in re.findall(r"\d+\.\d+", stated)]
    assert losses == sorted(losses, reverse=True)
    assert losses == pytest.approx(expected, rel=0.05)
