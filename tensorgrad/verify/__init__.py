"""The certificate: every public function's values and derivatives, checked on the machine that runs it.

    python -m tensorgrad.verify

Each function is called as its cases say (`cases/`), in every memory layout and dtype, on every device. Its value is
compared with the case's own expression in NumPy; its vjp, its jvp and its second order, every element of them, with
differences (`checks.py`). It needs NumPy only. A public function without a case fails.
"""

from tensorgrad.verify.certificate import Certificate, certify, certify_function, functions

__all__ = ["Certificate", "certify", "certify_function", "functions"]
