"""Hashed n-grams: equal tokens give equal rows, at any position and in any split of the text."""

from __future__ import annotations

import numpy as np
import pytest

from gpt.model.ngrams import ngram_rows
from tensorgrad import Key

IDS = Key(0).integers(0, 50, (3, 40))


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_a_row_is_a_function_of_the_last_tokens_alone(length):
    rows = ngram_rows(IDS, None, length, 1000)
    assert rows.shape == IDS.shape
    assert rows.dtype == np.int64
    assert rows.min() >= 0
    assert rows.max() < 1000
    for i in range(3):
        for t in range(length - 1, 40):
            alone = ngram_rows(IDS[i : i + 1, t - length + 1 : t + 1], None, length, 1000)
            assert alone[0, -1] == rows[i, t]


@pytest.mark.parametrize("cut", [1, 2, 17])
def test_a_text_in_two_parts_has_the_rows_of_the_whole(cut):
    whole = ngram_rows(IDS, None, 3, 1000)
    np.testing.assert_array_equal(ngram_rows(IDS[:, :cut], np.full((3, 2), -1), 3, 1000), whole[:, :cut])
    before = np.concatenate([np.full((3, 2), -1), IDS[:, :cut]], axis=1)[:, -4:]
    np.testing.assert_array_equal(ngram_rows(IDS[:, cut:], before, 3, 1000), whole[:, cut:])


def test_the_beginning_is_not_the_first_token():
    assert ngram_rows(np.array([[0]]), None, 2, 1 << 20) != ngram_rows(np.array([[0, 0]]), None, 2, 1 << 20)[:, 1:]


def test_ngrams_are_spread_evenly():
    """At least as many different rows as random ones would give; the order of tokens counts."""
    first, second = (a.reshape(-1, 1) for a in np.divmod(np.arange(64 * 64), 64))
    pairs = np.concatenate([first, second], axis=1)
    rows = ngram_rows(pairs, None, 2, 4096)[:, 1]
    assert len(np.unique(rows)) > 0.97 * 4096 * (1 - np.exp(-1))
    counts = np.bincount(rows, minlength=4096)
    assert counts.max() < 12
    wide = ngram_rows(pairs, None, 2, 1 << 31)[:, 1]
    assert len(np.unique(wide)) == 4096
