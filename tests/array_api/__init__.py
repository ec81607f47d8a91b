"""Runs the array API's conformance suite on the names that tensorgrad claims.

    git clone --recurse-submodules https://github.com/data-apis/array-api-tests
    pip install -r array-api-tests/requirements.txt
    python -m tests.array_api array-api-tests

`plugin.py` says what the suite is told beforehand. The result goes to benchmarks/results/array_api.json.
"""
