"""Attention on CUDA devices, by the first that works and that takes the call: cuDNN, our own kernels, the definition.

Each keeps the same of the forward, the output and the log-sum-exps of the scaled scores, so that a backward may be
another's than its forward.
"""

from tensorgrad.kernels.cuda.attention.choice import attention, attention_gradient, provider_for

__all__ = ["attention", "attention_gradient", "provider_for"]
