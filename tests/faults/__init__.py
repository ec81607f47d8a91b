"""Planted faults: is a wrong gradient noticed?

    python -m tests.faults [--sample N] [--path PART] [--json FILE]

`sources.enumerate_faults` finds the places in the library's gradients where a fault of `kinds.py` can be planted. Each
is planted alone in its own process, and the checks run until one notices: the certificate of the functions that use
the place, then the tests that mirror its file, then the whole certificate, then all of tests/tensorgrad.
A fault that no check notices survives. A survivor is a hole in the tests, or `equivalent.py` says why the program is
as right as before. A fault that runs into the time limit hangs: it counts as noticed and is listed.

The last campaign's result is benchmarks/results/faults.json; `tests/test_faults.py` plants a sample in every run.
"""
