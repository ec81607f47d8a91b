"""One training step, and a whole run made of such steps."""

from gpt.train.run import Run, resume, train
from gpt.train.step import train_step

__all__ = ["Run", "resume", "train", "train_step"]
