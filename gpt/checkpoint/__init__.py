"""A run on disk: checkpoints, and the layouts of Hugging Face's GPT-2 and Llama."""

from gpt.checkpoint import folder
from gpt.checkpoint.folder import *  # noqa: F403

__all__ = []
__all__ += folder.__all__
