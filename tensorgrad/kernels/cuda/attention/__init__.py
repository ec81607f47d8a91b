"""Attention on CUDA devices by the first provider that works and takes the call: cuDNN, our kernels, the reference.

A provider is an object or a module with the functions `attention` and `attention_gradient` of `Kernels`, which raise
Unsupported for a call that they do not take. All keep the same from the forward, the output and the log-sum-exps of
the scaled scores, so one provider can compute the backward of another's forward.
"""

from tensorgrad.kernels.cuda.attention.choice import attention, attention_gradient

__all__ = ["attention", "attention_gradient"]
