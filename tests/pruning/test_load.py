"""A pruned module in one's own code, without Lightning."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from fer.checkpoints import write_pruned
from fer.errors import InputError
from fer.pruning import PruneSettings, load_pruned, prune_once
from fer.pruning.load import check_finite
from fer.tasks import Conv6Task


class Small(nn.Module):
    """A network and a head; ``twice`` holds both under another name as well."""

    def __init__(self, width=12, compiled=False, name="backbone", twice=False):
        super().__init__()
        backbone = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 4))
        setattr(self, name, torch.compile(backbone, backend="eager") if compiled else backbone)
        self.head = nn.Linear(4, 3)
        if twice:
            self.both = nn.Sequential(getattr(self, name), self.head)

    def forward(self, inputs):
        return self.both(inputs) if hasattr(self, "both") else self.head(self.backbone(inputs))


INPUTS = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pruned.ckpt"


def write(module, path, attribute="", **changes):
    """Prune a network in a module, write it, and return the smaller module."""
    settings = PruneSettings(similar_below=60, complementary_above=120)
    old = module.get_submodule(attribute)
    pruning = prune_once(old, [INPUTS], settings)
    small = deepcopy(module) if attribute else pruning.network
    if attribute:
        small.set_submodule(attribute, pruning.network)
    if hasattr(small, "both"):
        small.both[0] = pruning.network
    write_pruned(path, small.state_dict(), pruning.widths, attribute=attribute, unpruned={})
    if changes:
        content = torch.load(path) | changes
        torch.save({key: value for key, value in content.items() if value is not None}, path)
    return small


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("attribute", ["", "backbone"])
def test_sizes_and_weights_are_those_of_the_pruned_module(module, path, attribute, compiled):
    pruned = write(module, path, attribute)

    loaded = load_pruned(Small(compiled=compiled), path)

    assert isinstance(loaded, Small)
    assert loaded.backbone[0].out_features < 12
    torch.testing.assert_close(loaded(INPUTS), pruned(INPUTS))


def test_a_network_that_is_held_twice_stays_one(path):
    pruned = write(Small(twice=True).eval(), path, "backbone")

    loaded = load_pruned(Small(twice=True), path)

    assert loaded.both[0] is loaded.backbone
    torch.testing.assert_close(loaded(INPUTS), pruned(INPUTS))


def test_the_module_given_is_left_as_it_was(module, path):
    write(module, path)
    full = Small()

    load_pruned(full, path)

    assert full.backbone[0].out_features == 12
    assert full.training


def test_a_network_that_was_pruned_alone_is_taken(module, path):
    """``pruned.pt`` of ``fer prune --network`` names no attribute."""
    pruned = write(module, path, pruned_network=None)

    torch.testing.assert_close(load_pruned(Small(), path)(INPUTS), pruned(INPUTS))


@pytest.mark.slow
def test_an_older_checkpoint_of_our_own_is_taken(path):
    torch.manual_seed(0)
    task = Conv6Task(widths=(4, 6, 6, 6, 6), image_size=32).eval()
    images = torch.randn(40, 1, 32, 32)
    pruning = prune_once(task.network, [images], PruneSettings(similar_below=60, complementary_above=120))
    state = {f"network.{name}": value for name, value in pruning.network.state_dict().items()}
    torch.save({"state_dict": state, "widths": pruning.widths, "task": "Conv6Task"}, path)

    loaded = load_pruned(Conv6Task(widths=(4, 6, 6, 6, 6), image_size=32), path)

    torch.testing.assert_close(loaded(images), pruning.network(images))
    assert loaded.widths == pruning.widths  # its next checkpoint says so


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(5, 3)


@pytest.mark.parametrize(
    ("make", "attribute", "changes", "message"),
    [
        pytest.param(
            Small, "", {"widths": None}, "holds no pruned network: give the pruned.ckpt", id="not pruned"
        ),
        pytest.param(
            Other, "", {}, "Other has no backbone.0.out_features, but the pruned network does", id="other"
        ),
        pytest.param(
            Other, "backbone", {}, "Other has no module 'backbone', which was pruned", id="no network"
        ),
        pytest.param(lambda: Small(width=3), "", {}, "is 3 in Small, which cannot be cut to", id="smaller"),
        pytest.param(
            lambda: Small(name="spine"),
            "backbone",
            {},
            "Small has no module 'backbone', which was pruned",
            id="name",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, attribute, changes, message, module, path):
    write(module, path, attribute, **changes)

    with pytest.raises(InputError, match=message.replace(".", r"\.")) as raised:
        load_pruned(make(), path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_first_key_that_does_not_fit_is_named(module, path):
    write(module, path)
    full = Small()
    full.head = nn.Linear(4, 3, bias=False)

    with pytest.raises(InputError, match=r"Small is not the module that was pruned: "):
        load_pruned(full, path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.ckpt: there is no such checkpoint"):
        load_pruned(Small(), tmp_path / "gone.ckpt")


def test_what_is_not_a_number_is_named_and_a_mask_may_be_infinite():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    network.register_buffer("mask", torch.full((2,), -torch.inf))
    check_finite(network, "best.ckpt")
    with torch.no_grad():
        network[0].weight[1] = torch.inf
    network[1].running_var[0] = torch.nan
    named = r"^best\.ckpt: 3 of 12 values of 0\.weight are NaN or infinite, and so are values of 1 more"
    with pytest.raises(InputError, match=named):
        check_finite(network, "best.ckpt")


@pytest.mark.parametrize("module", [nn.Identity, "pruned.ckpt"])
def test_a_class_or_a_path_in_place_of_the_module_is_named(module):
    with pytest.raises(InputError, match=r"takes a module, here .*: load_pruned\(MyModule\(\)"):
        load_pruned(module, "pruned.ckpt")
