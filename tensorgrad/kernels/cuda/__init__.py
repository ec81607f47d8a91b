"""The fused kernels on CUDA devices."""
