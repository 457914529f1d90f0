from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.evaluation.matrix import cells, from_cells, matrix_from_plain, matrix_to_plain


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_a_matrix_comes_back_from_its_cells_and_from_json(classes: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).poisson(0.7, (classes, classes)).astype(np.int64)
    assert np.array_equal(from_cells(classes, **cells(matrix)), matrix)
    assert np.array_equal(matrix_from_plain(json.loads(json.dumps(matrix_to_plain(matrix))), classes), matrix)


def test_a_large_matrix_is_stored_by_its_cells() -> None:
    matrix = np.zeros((1500, 1500), dtype=np.int64)
    matrix[7, 3], matrix[1499, 1499] = 4, 2
    plain = matrix_to_plain(matrix)
    assert plain == {"true": [7, 1499], "predicted": [3, 1499], "count": [4, 2]}
    assert np.array_equal(matrix_from_plain(plain, 1500), matrix)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        matrix_from_plain([[1, 2], [3, 4]], 3)
