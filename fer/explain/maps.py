"""Show which parts of an image a prediction depends on, by Grad-CAM and, independently, by occlusion."""

from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer.errors import InputError
from fer.neurons import eval_state

MIN_POSITIONS: Final = 16
"""Smallest number of positions at which a feature map distinguishes parts of a face: 4 x 4."""

PATCHES: Final = 6
"""Number of patches that fit side by side across an image; a patch moves by half of its size."""

BATCH: Final = 64
"""Batch size for occluded images."""


def find_map_layer(network: nn.Module, example: Tensor) -> str:
    """Return the name of the last module that returns feature maps, for Grad-CAM.

    It is the last one whose maps have at least :data:`MIN_POSITIONS` positions or, if there is none, the last
    with more than one position. Modules that are called more than once do not count.

    Args:
        network: Any network for images.
        example: A batch of inputs.

    Raises:
        InputError: No module returns feature maps.
    """
    calls: list[tuple[str, int]] = []

    def note(name: str, module: nn.Module, taken: object, output: object) -> None:
        del module, taken
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        calls.append((name, shape[2] * shape[3] if len(shape) == 4 else 0))

    with ExitStack() as hooks, eval_state(network):
        for name, module in network.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        network(example)
    num_calls = Counter(name for name, _ in calls)
    for least in (MIN_POSITIONS, 2):
        found = [name for name, num in calls if num >= least and num_calls[name] == 1]
        if found:
            return found[-1]
    msg = (
        f"{type(network).__name__} has no feature maps: none of its modules returns (N, C, H, W) with more "
        "than one position, which could be located in the image; fer explain needs a convolution"
    )
    raise InputError(msg)


def relevance_map(network: nn.Module, image: Tensor, target: int, layer: str) -> NDArray[np.float32]:
    """Return how much evidence each part of an image is for a class, by Grad-CAM.

    Args:
        network: In eval mode; maps images to logits.
        image: Shape ``(1, C, H, W)``, on the network's device.
        target: Index of the class.
        layer: Name of a module that returns feature maps; see :func:`find_map_layer`.

    Returns:
        Shape ``(H, W)``, 0 to 1 with 1 at the strongest evidence; all 0 if there is none.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", 2017.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    with torch.enable_grad():
        cam = LayerGradCam(network, network.get_submodule(layer))
        coarse = cam.attribute(image, target=target, relu_attributions=True).detach()
    fine = LayerAttribution.interpolate(coarse, tuple(image.shape[2:]), "bilinear")
    values = fine[0, 0].float().cpu().numpy()
    most = float(values.max())
    return np.asarray(values / most if most > 0 else np.zeros_like(values), np.float32)


def occlusion_map(network: nn.Module, image: Tensor, target: int) -> NDArray[np.float32]:
    """Return by how much the probability of a class drops when a part of an image is hidden.

    A patch of the inputs' mean, which is 0 after the normalisation, slides over the image. Each pixel gets
    the mean drop over the patches that hide it.

    Args:
        network: In eval mode; maps images to logits.
        image: Shape ``(1, C, H, W)``, on the network's device.
        target: Index of the class.

    Returns:
        Shape ``(H, W)``, -1 to 1: above 0 the hidden part is evidence for the class, below 0 against it.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014.
    """
    from captum.attr import Occlusion

    channels, height, width = image.shape[1:]
    patch = (channels, -(-height // PATCHES), -(-width // PATCHES))
    stride = (channels, -(-patch[1] // 2), -(-patch[2] // 2))
    with torch.inference_mode():
        drops = Occlusion(lambda inputs: network(inputs).softmax(dim=1)).attribute(
            image, patch, strides=stride, baselines=0, target=target, perturbations_per_eval=BATCH
        )
    return np.asarray(drops.sum(dim=1)[0].float().cpu().numpy() / channels, np.float32)
