"""Transfer learning: a frozen, pretrained backbone with a new head."""

import difflib
import pickle
import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fer.errors import InputError
from fer.models._checks import check_counts, check_image_size

_UNUSABLE: Final = (RuntimeError, AssertionError, ValueError, TypeError)
"""What timm's networks raise for an image size that they do not support."""


class AlexNetFeatures(nn.Sequential):
    """The convolutions of torchvision's AlexNet, flattened: 9216 features.

    Layers: ``features``, ``avgpool``, ``flatten``; the state dict's keys are torchvision's.

    Args:
        channels: Number of colour channels.
        pretrained: Whether to download torchvision's ImageNet weights.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.
    """

    pretrained_cfg: ClassVar = {
        "classifier": "classifier",
        "first_conv": "features.0",
        "input_size": (3, 224, 224),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    """Metadata in the format of timm's networks."""

    def __init__(self, *, channels: int = 3, pretrained: bool = False) -> None:
        weights = torchvision.models.AlexNet_Weights.DEFAULT if pretrained else None
        published = torchvision.models.alexnet(weights=weights, progress=False)
        super().__init__(
            OrderedDict(features=published.features, avgpool=published.avgpool, flatten=nn.Flatten())
        )
        if channels != 3:
            first = published.features[0]
            published.features[0] = nn.Conv2d(channels, 64, kernel_size=11, stride=4, padding=2)
            if pretrained:
                from timm.models import adapt_input_conv

                state = {"weight": adapt_input_conv(channels, first.weight.detach()), "bias": first.bias}
                published.features[0].load_state_dict(state)

    def group_matcher(self, *, coarse: bool = False) -> dict[str, str]:
        """Return the stages as timm's networks do: each convolution is a stage, whatever ``coarse`` is."""
        del coarse
        return {"blocks": r"^features\.(\d+)"}


class TransferNet(nn.Module):
    """A timm network (or torchvision's AlexNet) with a new last layer.

    Layers: ``backbone``, whose outputs are pooled features, and ``head``: ``head.fc``, or with
    ``hidden`` ``head.fc1``, ``head.fc1_sigmoid``, ``head.fc2``. Inputs
    ``(N, channels, image_size, image_size)``, logits ``(N, num_classes)``.

    The backbone is frozen except for its last ``unfreeze`` stages: frozen stages have no gradients
    and are always in eval mode, so that batch norm's statistics do not change. Stages are timm's
    groups for layer-wise learning rates (``group_matcher(coarse=True)``): the stem, the repeated
    blocks of the architecture, and the rest; a separate norm belongs to the stage before it. For a
    ResNet they are the stem and ``layer1`` to ``layer4``, for AlexNet the five convolutions.
    :attr:`stages` lists them from input to output.

    Args:
        backbone: Name of a timm network, with or without a tag (``"resnet18"``,
            ``"resnet18.a1_in1k"``), or ``"alexnet"``.
        pretrained: Whether to download the published ImageNet weights.
        weights: File with the backbone's weights, instead of a download: a state dict with timm's names
            (torchvision's for AlexNet), in ``.safetensors`` or as saved by ``torch.save``. Its
            classifier is ignored; all other keys must match. If the file is for 3 channels and
            ``channels`` differs, the first layer's weights are summed or repeated as in timm.
        unfreeze: Number of the backbone's last stages to train; the number of all stages
            trains the whole backbone.
        hidden: Number of neurons of a hidden layer with sigmoid in the head; None for a single
            linear layer.
        num_classes: Number of classes.
        channels: Number of colour channels.
        image_size: Height and width of the images, which the backbone must support.

    Raises:
        InputError: A setting does not fit, the download failed, or the file cannot be used.

    Source: Markou, "Insights of the Hidden Neuron Functionality using Deep Learning Techniques
    for Facial Emotion Recognition", section 2.4 (a ResNet, all frozen but the last layer).
    Jain, "Network Reduction Technique Based on Neuron Distinctiveness for Classifying
    Faces-Emotion via Transfer Learning", section 2: ``backbone="alexnet", hidden=200``, with
    1,844,807 trainable parameters.
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet18",
        pretrained: bool = False,
        weights: str | None = None,
        unfreeze: int = 0,
        hidden: int | None = None,
        num_classes: int = 7,
        channels: int = 3,
        image_size: int = 224,
    ) -> None:
        check_counts("TransferNet", channels=channels, num_classes=num_classes)
        check_image_size("TransferNet", image_size, smallest=1)
        if hidden is not None:
            check_counts("TransferNet", hidden=hidden)
        if pretrained and weights is not None:
            msg = f"pretrained and weights={weights!r} cannot be combined: leave one of them out"
            raise InputError(msg)
        super().__init__()
        self.backbone = _build(backbone, pretrained=pretrained, channels=channels, image_size=image_size)
        num_features = _count_features(self.backbone, backbone, channels=channels, image_size=image_size)
        if weights is not None:
            _load(self.backbone, Path(weights).expanduser(), backbone=backbone, channels=channels)

        stages = _stages(self.backbone)
        self.stages = tuple(name for name, _ in stages)
        if not 0 <= unfreeze <= len(stages):
            msg = (
                f"unfreeze={unfreeze} does not fit {backbone}: it must be 0 to {len(stages)}, "
                f"since the stages are {', '.join(self.stages)}"
            )
            raise InputError(msg)
        trained = {name for _, names in stages[len(stages) - unfreeze :] for name in names}
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name in trained)
        self.frozen = not trained

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if hidden is None:
            layers["fc"] = nn.Linear(num_features, num_classes)
        else:
            layers["fc1"] = nn.Linear(num_features, hidden)
            layers["fc1_sigmoid"] = nn.Sigmoid()
            layers["fc2"] = nn.Linear(hidden, num_classes)
        self.head = nn.Sequential(layers)
        self.train()

    @property
    def frozen_part(self) -> str | None:
        """The backbone, whose features can replace the images as inputs; None if part of it trains."""
        return "backbone" if self.frozen else None

    @property
    def neuron_layers(self) -> dict[str, str]:
        """Trainable hidden layers: the backbone, unless it is frozen, and the head's hidden layer."""
        places = {} if self.frozen else {"backbone": "backbone"}
        return places | ({"head.fc1": "head.fc1_sigmoid"} if "fc1" in self.head._modules else {})

    def train(self, mode: bool = True) -> Self:
        """Set training mode on the head and the trainable stages; frozen stages stay in eval mode.

        Args:
            mode: Whether to set training mode, or eval mode.

        Returns:
            The network itself.
        """
        super().train(mode)
        self.backbone.eval()
        for module in self.backbone.modules():
            parameters = list(module.parameters())
            if parameters and all(parameter.requires_grad for parameter in parameters):
                module.train(mode)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of a batch.

        Args:
            inputs: Images, shape ``(N, channels, image_size, image_size)``, or, if the whole
                backbone is frozen, their features, shape ``(N, num_features)``.

        Returns:
            Logits, shape ``(N, num_classes)``.
        """
        # A torch.fx proxy is not a tensor: a traced graph takes images.
        if self.frozen and isinstance(inputs, Tensor) and inputs.ndim == 2:
            features = inputs
        elif self.frozen:
            with torch.no_grad():
                features = self.backbone(inputs)
        else:
            features = self.backbone(inputs)
        logits: Tensor = self.head(features)
        return logits


def _build(backbone: str, *, pretrained: bool, channels: int, image_size: int) -> nn.Module:
    """Return the backbone without its classifier, randomly initialised or downloaded."""
    import timm  # not at the top: it is slow to import, and the other networks do not need it

    _check_name(backbone)
    way_out = "use a file with the weights instead: weights=FILE"
    try:
        if backbone == "alexnet":
            return AlexNetFeatures(channels=channels, pretrained=pretrained)
        settings: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
        published_size, fixed = _published_size(backbone)
        if fixed and image_size != published_size:
            settings["img_size"] = image_size
        network: nn.Module = timm.create_model(backbone, pretrained=pretrained, **settings)
    except OSError as error:
        msg = f"the pretrained weights of {backbone} could not be downloaded ({error}); {way_out}"
        raise InputError(msg) from error
    except _UNUSABLE as error:
        msg = (
            f"{backbone}, published for image_size={_published_size(backbone)[0]}, cannot be built with "
            f"pretrained={pretrained}, channels={channels} and image_size={image_size}: {error}"
        )
        raise InputError(msg) from error
    return network


def _check_name(backbone: str) -> None:
    """Check that timm has a network of that name, and the tag after the dot."""
    import timm

    tagged = "." in backbone
    known = timm.list_pretrained() if tagged else ["alexnet", *timm.list_models()]
    if backbone in known:
        return
    if tagged and not backbone.endswith("."):
        known = [*known, *timm.list_models()]
    similar = difflib.get_close_matches(backbone, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(similar)}?" if similar else "see timm.list_models()"
    msg = f"unknown backbone {backbone!r}: {hint}"
    raise InputError(msg)


def _published_size(backbone: str) -> tuple[int, bool]:
    """Return the image size that a backbone was published for, and whether it is fixed."""
    from timm.models import get_pretrained_cfg

    published = None if backbone == "alexnet" else get_pretrained_cfg(backbone)
    return (224, False) if published is None else (published.input_size[-1], published.fixed_input_size)


def _count_features(network: nn.Module, backbone: str, *, channels: int, image_size: int) -> int:
    """Return the number of features, found by running the network on a blank image."""

    def run(size: int) -> int:
        device = next(network.parameters()).device
        with torch.no_grad():
            features: Tensor = network(torch.zeros(1, channels, size, size, device=device))
        if features.ndim != 2:
            msg = f"{backbone} cannot be a backbone: its output {tuple(features.shape)} is not pooled"
            raise InputError(msg)
        return features.shape[1]

    network.eval()
    try:
        return run(image_size)
    except InputError:
        raise
    except _UNUSABLE as error:
        published_size, fixed = _published_size(backbone)
        msg = f"image_size={image_size} does not fit {backbone}, which was published for {published_size}"
        if not fixed and image_size < published_size:
            msg += f": the next size that fits is {_next_size(run, above=image_size, below=published_size)}"
        raise InputError(msg) from error


def _next_size(run: Callable[[int], int], *, above: int, below: int) -> int:
    """Return the smallest image size that works, by bisection; ``above`` is too small, ``below`` works."""
    while below - above > 1:
        middle = (above + below) // 2
        try:
            run(middle)
        except _UNUSABLE:
            above = middle
        else:
            below = middle
    return below


def _stages(network: nn.Module) -> list[tuple[str, list[str]]]:
    """Return each stage's name and the names of its parameters, from input to output."""
    from timm.models import group_parameters

    matcher = getattr(network, "group_matcher", None)
    if matcher is None:
        children = [
            [f"{child}.{name}" for name, _ in layer.named_parameters()]
            for child, layer in network.named_children()
        ]
        groups = [group for group in children if group]
    else:
        groups = list(group_parameters(network, matcher(coarse=True)).values())
    stages: list[list[str]] = []
    for group in groups:
        if stages and all(network.get_parameter(name).ndim < 2 for name in group):
            stages[-1].extend(group)
        else:
            stages.append(list(group))
    return list(zip(_stage_names(stages), stages, strict=True))


def _stage_names(stages: list[list[str]]) -> list[str]:
    """Name each stage after the outermost layer that contains its first parameter and no other stage's.

    >>> _stage_names([["conv1.weight", "bn1.bias"], ["blocks.0.fc1.bias"], ["blocks.1.fc1.bias"]])
    ['conv1', 'blocks.0', 'blocks.1']
    """
    names = []
    for i, stage in enumerate(stages):
        others = [f"{name}." for j, other in enumerate(stages) if j != i for name in other]
        layer, *rest = stage[0].split(".")
        while rest and any(other.startswith(f"{layer}.") for other in others):
            layer += f".{rest.pop(0)}"
        names.append(layer)
    return names


def _load(network: nn.Module, path: Path, *, backbone: str, channels: int) -> None:
    """Load a file's weights into the backbone; all keys but the classifier's must match."""
    from timm.models import adapt_input_conv

    state = read_state(path)
    published: Mapping[str, Any] = getattr(network, "pretrained_cfg", {})
    for classifier in _names(published.get("classifier")):
        state = {name: value for name, value in state.items() if not name.startswith(f"{classifier}.")}
    for first in _names(published.get("first_conv")):
        weight = state.get(f"{first}.weight")
        if weight is not None and weight.ndim == 4 and weight.shape[1] == 3 and channels != 3:
            state[f"{first}.weight"] = adapt_input_conv(channels, weight)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        msg = f"{path} does not contain the weights of {backbone}: {' '.join(str(error).split())}"
        raise InputError(msg) from error
    if missing or unexpected:
        found = [
            f"{len(names)} {kind} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for kind, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        msg = f"{path} does not contain the weights of {backbone}: keys {' and '.join(found)}"
        raise InputError(msg)


_UNREADABLE: Final = (
    *(ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error, SafetensorError),
)
"""What PyTorch and safetensors raise for a damaged file of weights, or a different kind of file."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file.

    Args:
        path: ``.pth``, ``.bin`` or ``.safetensors``; or a checkpoint, such as Lightning's, with the key
            ``state_dict``.

    Raises:
        InputError: It cannot be read, or contains anything but tensors.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about old pickle formats
            state = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, "cpu", weights_only=True)
            )
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's message suggests an unsafe load
            reason = "it is damaged, or contains other objects than tensors, which are not loaded"
        msg = f"weights={path} cannot be read: {reason}; it must be a state dict, .pth, .bin or .safetensors"
        raise InputError(msg) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        msg = f"weights={path} is not a state dict: it must map names to tensors and contain nothing else"
        raise InputError(msg)
    return dict(state)


def _names(names: str | Sequence[str] | None) -> Sequence[str]:
    """Return one or several layer names as a sequence."""
    return (names,) if isinstance(names, str) else names or ()
