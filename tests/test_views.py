"""The views of test-time augmentation: the same for NumPy and torch, and the images themselves first."""

import numpy as np
import pytest
import torch

from fer.views import NUM_VIEWS, views

IMAGE = np.arange(2 * 1 * 3 * 3).reshape(2, 1, 3, 3)
"""Two images of 3 x 3 pixels: a shift is one pixel."""


@pytest.mark.parametrize("tta", NUM_VIEWS)
def test_numpy_and_torch_have_the_same_views(tta):
    arrays, tensors = views(IMAGE, tta), views(torch.from_numpy(IMAGE), tta)
    assert len(arrays) == len(tensors) == NUM_VIEWS[tta]
    for array, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_array_equal(array, tensor.numpy())
        assert array.shape == IMAGE.shape


def test_views_are_the_image_its_mirror_image_and_four_shifts():
    found = [view[0, 0].tolist() for view in views(IMAGE, "ten_crop")]
    assert found[0] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert found[1] == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert found[2] == [[0, 0, 1], [0, 0, 1], [3, 3, 4]]  # down and to the right, with the border repeated
    assert found[8] == [[4, 5, 5], [7, 8, 8], [7, 8, 8]]
    assert [found[place + 1] for place in range(0, 10, 2)] == [
        [row[::-1] for row in found[place]] for place in range(0, 10, 2)
    ]
    assert len({str(view) for view in found}) == 10


@pytest.mark.parametrize("tta", NUM_VIEWS)
def test_views_of_one_name_are_the_first_of_those_with_more(tta):
    for few, many in zip(views(IMAGE, tta), views(IMAGE, "ten_crop"), strict=False):
        np.testing.assert_array_equal(few, many)
