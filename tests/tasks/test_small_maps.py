"""Convolutions to small maps are products of matrices, and compute the same."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fer.tasks import ResnetTask
from fer.tasks.small_maps import MOST_POSITIONS, Convolution, SmallMaps

BF16 = torch.bfloat16


def _noise(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


CASES = [
    pytest.param((2, 3, 2, 2), (4, 3, 3, 3), (1, 1), (1, 1), id="2x2"),
    pytest.param((2, 3, 3, 3), (4, 3, 3, 3), (1, 1), (1, 1), id="3x3"),
    pytest.param((2, 3, 3, 3), (4, 3, 3, 3), (2, 2), (1, 1), id="stride 2"),
    pytest.param((2, 3, 6, 6), (4, 3, 3, 3), (2, 2), (1, 1), id="stride 2, the last row is not covered"),
    pytest.param((2, 3, 3, 3), (4, 3, 1, 1), (2, 2), (0, 0), id="1x1, stride 2"),
    pytest.param((2, 3, 3, 3), (4, 3, 3, 3), (1, 1), (0, 0), id="one position"),
    pytest.param((2, 3, 2, 4), (4, 3, 1, 3), (1, 2), (0, 1), id="height and width differ"),
    pytest.param((2, 3, 3, 3), (4, 3, 3, 3), (1, 1), (2, 2), id="a wide margin"),
    pytest.param((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), id="one number"),
]


@pytest.mark.parametrize(("maps", "weight", "stride", "padding"), CASES)
def test_a_product_of_matrices_is_the_convolution_with_its_gradients(maps, weight, stride, padding):
    maps, weight = _noise(*maps), _noise(*weight, seed=1)
    found = Convolution.apply(maps, weight, stride, padding)
    torch.testing.assert_close(found, F.conv2d(maps, weight, stride=stride, padding=padding))
    assert torch.autograd.gradcheck(lambda x, w: Convolution.apply(x, w, stride, padding), (maps, weight))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_memory_format_is_taken(memory_format):
    maps = _noise(2, 3, 3, 3).to(memory_format=memory_format)
    weight = _noise(4, 3, 3, 3, seed=1).to(memory_format=memory_format)
    found = Convolution.apply(maps[:, :, :2], weight, (1, 1), (1, 1))
    torch.testing.assert_close(found, F.conv2d(maps[:, :, :2], weight, padding=1))


def _is_product(layer, inputs):
    """Return whether a layer computes a product of matrices; check what it computes."""
    with SmallMaps():
        found = layer(inputs)
    torch.testing.assert_close(found, layer(inputs), rtol=0.02, atol=0.02)
    functions, names = [found.grad_fn], set()
    while functions:
        each = functions.pop()
        names.add(each.name())
        functions += [parent for parent, _ in each.next_functions if parent is not None]
    return "ConvolutionBackward" in names


def _conv(*args, **settings):
    torch.manual_seed(0)
    return nn.Conv2d(*args, **settings)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        pytest.param(_conv(2, 4, 3, padding=1), (2, 2, 3, 3), True, id="small"),
        pytest.param(_conv(2, 4, 3, padding=1, bias=False), (2, 2, 3, 3), True, id="without bias"),
        pytest.param(_conv(2, 4, 3), (2, 2, 5, 5), True, id="small after it"),
        pytest.param(_conv(2, 4, 3, padding=1), (2, 2, 4, 4), False, id="large"),
        pytest.param(_conv(2, 4, 3, padding=1, groups=2), (2, 2, 3, 3), False, id="groups"),
        pytest.param(_conv(2, 4, 2, dilation=2), (2, 2, 4, 4), False, id="dilated"),
        pytest.param(_conv(2, 4, 3, padding="same"), (2, 2, 3, 3), False, id="padding by name"),
        pytest.param(_conv(2, 4, 1, padding=1), (2, 2, 1, 1), False, id="a margin beyond the kernel"),
        pytest.param(_conv(2, 4, 3, padding=1), (2, 3, 3), False, id="no batch"),
    ],
)
def test_small_maps_alone_are_computed_so(layer, shape, expected):
    with torch.autocast("cpu", BF16):
        assert _is_product(layer, _noise(*shape, dtype=torch.float32)) == expected


@pytest.mark.parametrize(
    ("dtype", "size", "expected"),
    [
        pytest.param(torch.float32, 2, True, id="float32, small"),
        pytest.param(torch.float32, 3, False, id="float32, large"),
        pytest.param(torch.float64, 2, False, id="float64"),
        pytest.param(BF16, 3, True, id="bfloat16, small"),
        pytest.param(BF16, 4, False, id="bfloat16, large"),
    ],
)
def test_what_is_small_depends_on_the_type(dtype, size, expected):
    layer, inputs = _conv(2, 4, 3, padding=1).to(dtype), _noise(2, 2, size, size, dtype=dtype)
    assert _is_product(layer, inputs) == expected
    with torch.autocast("cpu", torch.float16, enabled=dtype == torch.float32):
        assert _is_product(layer, inputs) == (expected and dtype != torch.float32)


@pytest.mark.slow
def test_a_network_learns_the_same_by_it(monkeypatch):
    task = ResnetTask(depth=18)
    inputs, labels = torch.randn(8, 1, 48, 48), torch.arange(8) % 7
    gradients = []
    for most in (MOST_POSITIONS, {}):
        monkeypatch.setattr("fer.tasks.small_maps.MOST_POSITIONS", most)
        each = copy.deepcopy(task)
        with torch.autocast("cpu", BF16):
            loss = each.loss_of(each(inputs), labels)
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in each.parameters()]))
    one, other = gradients
    assert not torch.equal(one, other)
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.99
