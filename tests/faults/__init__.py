"""Planted faults: is a wrong gradient noticed?

    python -m tests.faults [--sample N] [--path PART] [--json FILE]

Plants each of the faults that `sources.enumerate_faults` finds in the library's own gradients (`kinds.py` says which),
in a process of its own, one at a time, and looks for the first check that notices: the certificate of the functions
that the place serves, then the tests that mirror its file, then the whole certificate, then all of tests/tensorgrad.
What no check notices survives. A survivor is a hole in the tests, or `equivalent.py` says why the program is as right
as before. A fault that runs into the time limit counts as noticed and is listed: it hangs.

The last campaign's result is benchmarks/results/faults.json; `tests/test_faults.py` plants a sample in every run.
"""
