"""One training step, and a whole run of them: data, device, metrics, checkpoints, reports."""

from gpt.train.run import Run, resume, train
from gpt.train.step import train_step

__all__ = ["Run", "resume", "train", "train_step"]
