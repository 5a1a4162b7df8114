"""Whole blocks that put out what they are given."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from fer.errors import InputError
from fer.models.cbam import CbamResNet
from fer.models.resnet import ResNet
from fer.neurons import prune, resize
from fer.neurons.blocks import Bypass, bypass, drop_idle_blocks, measure_blocks
from fer.neurons.surgery import widths


class Adding(nn.Module):
    """Adds to what it is given the same, many times smaller."""

    def __init__(self, factor, width=3):
        super().__init__()
        self.branch = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.branch.weight)
        self.branch.weight.data.fill_diagonal_(factor)

    def forward(self, inputs):
        return inputs + self.branch(inputs)


def resnet(kind=ResNet, *idle):
    torch.manual_seed(0)
    network = kind(depth=18).double().eval()
    for name, module in network.named_modules():
        if name.endswith("bn2"):  # zero, as a residual network is begun, is idle
            nn.init.constant_(module.weight, float(name.removesuffix(".bn2") not in idle))
    return network


IMAGES = torch.randn(20, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_what_a_block_adds_is_a_share_of_what_it_is_given():
    network = nn.Sequential(Adding(0.5), Adding(0.0), nn.Sequential(nn.Linear(3, 4)))
    batches = [torch.randn(5, 3), (torch.randn(2, 3), torch.zeros(2))]
    assert measure_blocks(network, batches) == {"0": pytest.approx(0.5), "1": 0.0}


def test_a_block_that_is_given_nothing_and_puts_out_something_is_not_idle():
    network = nn.Sequential(nn.Sequential(nn.Linear(3, 3)))
    assert measure_blocks(network, [torch.zeros(2, 3)])["0"] == float("inf")


def test_what_is_overwritten_in_place_is_seen():
    network = nn.Sequential(nn.Sequential(nn.ReLU(inplace=True), Adding(0.0)))
    assert measure_blocks(network, [torch.tensor([[3.0, -4.0, 0.0]])])["0"] == pytest.approx(0.8)


def test_what_takes_more_than_one_tensor_is_not_a_block():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Bilinear(3, 3, 3)
            self.block = nn.Sequential(self.inner)
            self.block.forward = lambda left, right: self.inner(left, right)

        def forward(self, inputs):
            return self.block(inputs, inputs)

    assert measure_blocks(Two(), [torch.randn(2, 3)]) == {}


def test_a_single_layer_with_its_activation_is_no_block():
    network = nn.Sequential(BatchNormAct2d(3, act_layer=nn.Identity)).eval()  # changes nothing
    assert measure_blocks(network, [torch.randn(2, 3, 4, 4)]) == {}


def test_batches_that_the_network_does_not_take_are_refused():
    with pytest.raises(InputError, match=r"Sequential does not take float32 \(2, 4\): (mm: )?mat1"):
        measure_blocks(nn.Sequential(Adding(0.5)), [torch.zeros(2, 4)])


@pytest.mark.parametrize("kind", [ResNet, CbamResNet])
@pytest.mark.slow
def test_idle_blocks_of_a_residual_network_go_and_its_logits_stay(kind):
    network = resnet(kind, "layer1.0", "layer2.1")
    small, gone = drop_idle_blocks(network, [IMAGES])
    assert {"layer1.0", "layer2.1"} <= gone.keys()
    assert isinstance(small.get_submodule("layer2.1"), Bypass)
    assert not isinstance(network.get_submodule("layer2.1"), Bypass)
    torch.testing.assert_close(small(IMAGES), network(IMAGES), rtol=0, atol=1e-10)
    assert set(small.neuron_layers) == {
        layer for layer in network.neuron_layers if not layer.startswith(("layer1.0", "layer2.1"))
    }


@pytest.mark.slow
def test_a_stage_of_idle_blocks_goes_as_one():
    _, gone = drop_idle_blocks(resnet(ResNet, "layer1.0", "layer1.1"), [IMAGES])
    assert gone == {"layer1": 0.0}


def test_by_zero_all_blocks_stay():
    network = resnet(ResNet, "layer2.1")
    assert drop_idle_blocks(network, [IMAGES], 0) == (network, {})


@pytest.mark.slow
def test_pruning_takes_idle_blocks_and_the_small_network_loads_again():
    network = resnet(ResNet, "layer2.1", "layer3.1")
    pruned = prune(network, [IMAGES], similar_below=0, complementary_above=180)
    assert pruned.report["blocks"] == {"layer2.1": 0.0, "layer3.1": 0.0}
    assert pruned.widths["layer2.1"] == 0
    within = {name: group for name, group in pruned.report["groups"].items() if group["block"]}
    assert within.keys() == {"layer2.1.conv1", "layer3.1.conv1"}
    assert (within["layer2.1.conv1"]["before"], within["layer2.1.conv1"]["after"]) == (128, 0)
    torch.testing.assert_close(pruned.network(IMAGES), network(IMAGES), rtol=0, atol=1e-10)
    again = resize(resnet(), pruned.widths)
    again.load_state_dict(pruned.network.state_dict())
    torch.testing.assert_close(again(IMAGES), pruned.network(IMAGES))
    assert widths(again) == pruned.widths


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": ["layer1.0.conv1"]},
        {"rule": "narayan"},
        {"idle_below": 0},
        {"num_removed": {"layer2.1.conv1": 2}},
    ],
)
@pytest.mark.slow
def test_blocks_stay_where_something_else_decides(settings):
    network = resnet(ResNet, "layer2.1")
    assert prune(network, [IMAGES], **settings).report["blocks"] == {}


@pytest.mark.slow
def test_a_bypass_is_in_the_mode_of_its_network():
    network = resnet().train()
    assert bypass(network, ["layer1.0"]).layer1[0].training
    assert not bypass(network.eval(), ["layer1.0"]).layer1[0].training
