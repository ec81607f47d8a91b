"""Token ids -> vectors -> blocks -> logits -> loss."""

from gpt.model.gpt import GPT

__all__ = ["GPT"]
