"""A run on disk: checkpoints, and the layouts of Hugging Face's GPT-2 and Llama."""

from gpt.checkpoint.folder import (
    Loaded,
    TrainingState,
    checkpoint_folder,
    checkpoints,
    export,
    load,
    load_training_state,
    save_checkpoint,
)

__all__ = [
    "Loaded",
    "TrainingState",
    "checkpoint_folder",
    "checkpoints",
    "export",
    "load",
    "load_training_state",
    "save_checkpoint",
]
