"""The command ``prune`` for any network, from timm or by its class path, on images without labels."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import timm
import torch
from jsonargparse import ArgumentParser, Namespace
from PIL import Image
from rich.progress import track
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fer.commands.announced import announced
from fer.commands.classpath import import_class, import_from_here
from fer.commands.help import TITLES
from fer.commands.parsing import CONSOLE, make_parser, parse
from fer.commands.size_targets import add_size_targets, take_size_target
from fer.commands.tuning import tuning_line
from fer.data.reading import BadImageError, find_images, read_image
from fer.errors import InputError, did_you_mean
from fer.models.transfer import read_state
from fer.neurons.inputs import call
from fer.neurons.networks import eval_state
from fer.pruning import PruneSettings, Tuning, fine_tune, prune_unlabelled
from fer.pruning.any_network import write_any_network
from fer.pruning.evaluate import logits_of
from fer.pruning.limits import limit_of
from fer.pruning.tuning import LR, Epoch

CHANNELS: Final = 3
"""Number of channels of the images: R, G and B."""

HELD_OUT: Final = 5
"""Every fifth image is held out for the comparison; the others are used for pruning."""

log = logging.getLogger("fer.commands")


def prune_network(arguments: Sequence[str]) -> None:
    """Prune a network from timm, or of any class, on a folder of images."""
    import_from_here()  # --network may name a class in the working directory
    parser = _make_parser()
    given = _parse(parser, arguments)
    target = take_size_target(given)
    settings, network = _build(parser, given)
    settings.check_size(target)
    config = image_format(network, given.image_size, given.mean, given.std)
    CONSOLE.print(_describe_images(given.images, config), markup=False)
    batches, held_out = read_batches(
        *(given.images, config), num_samples=settings.num_samples, batch_size=given.batch_size
    )
    pruning, results = prune_unlabelled(
        *(network, announced(batches, network), held_out, settings),
        *(limit_of(target, network), _fine_tuning(network, batches, given) if given.tune_epochs else None),
    )
    name = given.timm or given.network.class_path
    out = given.out or Path("runs") / f"{_short(name)}-{time.strftime('%Y%m%d-%H%M%S')}-prune"
    about = {"model": name, "weights": None if given.weights is None else str(given.weights)}
    path = write_any_network(out, pruning, results, about)
    origin, make = _code_of(given, results.num_classes)
    CONSOLE.print(
        f"{results.table()}\n\npruned       {path}\nload it with\n  {origin}\n"
        f"  from fer.pruning import load_pruned\n  network = load_pruned({make}, {str(path)!r})",
        markup=False,
    )


def _make_parser() -> ArgumentParser:
    parser = make_parser(
        "fer prune",
        "Prune any network on images without labels, and report how often the predicted class is "
        "the same before and after.",
    )
    parser.usage = "fer prune (--timm NAME | --network package.module.Class) --images FOLDER [settings]"
    parser.add_argument("--timm", type=str | None, default=None, help="name of a network of timm")
    parser.add_argument(
        "--network",
        type=nn.Module | None,
        default=None,
        help="class path of a network that returns logits; its parameters are --network.NAME VALUE",
    )
    parser.add_argument(
        "--images",
        type=Path | None,
        default=None,
        help="folder of images like the network's inputs, at any depth; required",
    )
    parser.add_argument(
        "--weights",
        type=Path | None,
        default=None,
        help="state dict: .pth, .bin or .safetensors, or a checkpoint of Lightning",
    )
    parser.add_argument(
        "--image_size",
        type=int | None,
        default=None,
        help="side of the images; null: timm's for the network, or 224",
    )
    for name, what in (("mean", "means"), ("std", "standard deviations")):
        parser.add_argument(
            f"--{name}",
            type=list[float] | None,
            default=None,
            help=f"{what} that normalise the images' channels, for pixels of 0 to 1: [0.5], or one for each "
            "of R, G and B; null: timm's for the network, or ImageNet's",
        )
    parser.add_argument(
        "--out",
        type=Path | None,
        default=None,
        help="folder for the results; null: runs/NAME-TIME-prune",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="images in a batch")
    add_size_targets(parser)
    parser.add_argument(
        "--tune_epochs",
        type=int,
        default=0,
        help="epochs of fine-tuning on the outputs of the unpruned network, with the images used for "
        "pruning; the weights of the last epoch are kept",
    )
    parser.add_argument(
        "--tune_lr",
        type=float,
        default=LR,
        help="peak learning rate of AdamW, which a cosine schedule decays to 0",
    )
    parser.add_class_arguments(PruneSettings, "prune")
    (parser.groups or {})["prune"].title = TITLES["prune"]
    return parser


def _parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse and check the arguments.

    Raises:
        InputError: One of them is invalid.
    """
    arguments = [part for word in arguments for part in _split(word)]
    for flag, value in pairwise(arguments):
        if flag == "--network":  # jsonargparse's own error suggests no other name
            import_class(value, option=flag, base=nn.Module)
    given = parse(parser, arguments)
    if given.images is None:
        msg = "--images FOLDER is missing: give some hundred images like the network's inputs, without labels"
        raise InputError(msg)
    if given.batch_size < 1:
        msg = f"--batch_size is {given.batch_size}: it must be 1 or more"
        raise InputError(msg)
    if given.tune_epochs < 0 or not given.tune_lr > 0:
        msg = (
            f"--tune_epochs is {given.tune_epochs} and --tune_lr {given.tune_lr}: set --tune_epochs to 0 or "
            "more, and --tune_lr above 0"
        )
        raise InputError(msg)
    if (given.timm is None) == (given.network is None):
        msg = "give one of --timm NAME and --network package.module.Class"
        raise InputError(msg)
    if given.timm is not None:
        check_timm(given.timm)
    check_count(len(find_images(given.images)), given.images)  # before the network is built
    return given


def _build(parser: ArgumentParser, given: Namespace) -> tuple[PruneSettings, nn.Module]:
    """Return the settings of the pruning, and the network with its weights.

    Raises:
        InputError: A setting is invalid, or the file does not hold the network's weights.
    """
    built = parser.instantiate_classes(given)
    state = None if given.weights is None else read_state(given.weights)
    network = built.network if given.timm is None else make_timm(given.timm, state)
    if state is None:
        log.warning(
            "without --weights the network is untrained: its neurons are similar only by chance, and the "
            "results say nothing about a trained network"
        )
    else:
        load_weights(network, state, given.weights)
    return built.prune, network.eval()


def _fine_tuning(
    network: nn.Module, batches: Sequence[Tensor], given: Namespace
) -> Callable[[nn.Module], Tuning]:
    """Return a function that fine-tunes a pruned network on the outputs of the unpruned one."""
    loader: DataLoader[Tensor] = DataLoader(batches, batch_size=None, shuffle=True)  # type: ignore[arg-type]

    def report(number: int, found: Epoch) -> None:
        if number:
            CONSOLE.print(tuning_line(number, given.tune_epochs, found))

    return lambda pruned: fine_tune(
        *(pruned, loader), whole=network, epochs=given.tune_epochs, lr=given.tune_lr, report=report
    )


def _code_of(given: Namespace, num_classes: int) -> tuple[str, str]:
    """Return the import of a network's class, and the expression that makes the network."""
    if given.timm is not None:
        return "import timm", f"timm.create_model({given.timm!r}, num_classes={num_classes})"
    path, init = given.network.class_path, given.network.get("init_args") or {}
    arguments = ", ".join(f"{key}={value!r}" for key, value in vars(init).items())
    return f"from {path.rpartition('.')[0]} import {_short(path)}", f"{_short(path)}({arguments})"


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _split(word: str) -> list[str]:
    """Split ``--timm=NAME`` and ``--network=NAME``, so that both spellings are checked alike.

    >>> _split("--network=package.Class"), _split("--prune.merge=drop")
    (['--network', 'package.Class'], ['--prune.merge=drop'])
    """
    flag, equals, value = word.partition("=")
    return [flag, value] if equals and flag in ("--timm", "--network") else [word]


def check_timm(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        InputError: timm has no such network; the message names the nearest one.
    """
    if not timm.is_model(name):
        near = did_you_mean(name, timm.list_models())
        msg = (
            f"--timm {name}: timm has no such network: {near}to list all: "
            "python -c 'import timm; print(*timm.list_models())'"
        )
        raise InputError(msg)


def check_count(num_images: int, folder: Path) -> None:
    """Refuse a folder with too few images to hold one out.

    Raises:
        InputError: There are fewer than :data:`HELD_OUT`.
    """
    if num_images < HELD_OUT:
        msg = f"--images {folder}: {num_images} images; give {HELD_OUT} or more, better thousands"
        raise InputError(msg)


def make_timm(name: str, state: Mapping[str, Tensor] | None) -> nn.Module:
    """Return a network from timm, with as many classes as its weights have; None: no weights."""
    settings: dict[str, Any] = {}
    classifier = timm.get_pretrained_cfg_value(name, "classifier")
    for key, value in (state or {}).items():
        if isinstance(classifier, str) and f".{key}".endswith(f".{classifier}.weight"):
            settings["num_classes"] = len(value)
    return timm.create_model(name, **settings)


def load_weights(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load the weights of a file into a network.

    Args:
        network: The network.
        state: Weights, perhaps of a module that holds the network.
        path: The file, for the message.

    Raises:
        InputError: They do not fit the network.
    """
    try:
        network.load_state_dict(_of_network(state, [*network.state_dict()]))
    except RuntimeError as e:
        reason = " ".join(str(e).split())
        shown = reason if len(reason) < 300 else f"{reason[:300]} …"
        msg = (
            f"--weights {path} does not hold the weights of {type(network).__name__}: {shown}; give the "
            "arguments it was built with, such as --network.num_classes 3"
        )
        raise InputError(msg) from e


def _of_network(state: Mapping[str, Tensor], names: Sequence[str]) -> Mapping[str, Tensor]:
    """Return the weights of a network from those of a module that holds it, such as a LightningModule.

    >>> _of_network({"model.fc.weight": torch.ones(1), "loss.weight": torch.zeros(7)}, ["fc.weight"])
    {'fc.weight': tensor([1.])}
    """
    ends = [name.removesuffix(names[0]) for name in state if names and f".{name}".endswith(f".{names[0]}")]
    for prefix in ends:
        if all(f"{prefix}{name}" in state for name in names):
            return {name: state[f"{prefix}{name}"] for name in names}
    return state


def image_format(
    network: nn.Module,
    image_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return the size and the normalisation of a network's images, as timm has them.

    Args:
        network: The network.
        image_size: Side of the images; None: timm's for the network, or 224.
        mean: Mean of each channel, or one for all, in pixels of 0 to 1; None: timm's, or ImageNet's.
        std: Standard deviation of each channel, likewise.

    Raises:
        InputError: There are not one or three means or standard deviations, or the network does not return
            logits for such an image.
    """
    given: dict[str, Any] = {}
    if image_size is not None:
        given["input_size"] = (CHANNELS, image_size, image_size)
    for name, values in (("mean", mean), ("std", std)):
        if values is not None:
            if len(values) not in (1, CHANNELS) or (name == "std" and min(values) <= 0):
                msg = f"--{name} is {values}: give [0.5] or a number for each of R, G and B, --std above 0"
                raise InputError(msg)
            given[name] = (*values,) * (CHANNELS // len(values))
    config: dict[str, Any] = resolve_data_config(given, model=network)  # type: ignore[no-untyped-call]
    try:
        with eval_state(network):
            logits_of(network, call(network, torch.zeros(1, *config["input_size"])))
    except InputError as e:
        msg = (
            f"{e}; fer prune gives a network RGB images, of --image_size, and takes its outputs as logits: "
            "in Python, fer.prune(network, loader) prunes networks with any inputs and outputs"
        )
        raise InputError(msg) from e
    return config


def _describe_images(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the line about the size and the normalisation of the images."""
    _, height, width = config["input_size"]
    mean, std = (", ".join(f"{value:g}" for value in config[name]) for name in ("mean", "std"))
    return (
        f"images       {folder}, resized to {height}x{width} pixels (--image_size), normalised by the means "
        f"{mean} (--mean) and the standard deviations {std} (--std)"
    )


def read_batches(
    folder: Path, config: Mapping[str, Any], *, num_samples: int, batch_size: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the images of a folder, resized and normalised as timm does.

    Args:
        folder: Folder of images, at any depth; unreadable ones are left out with a warning.
        config: See :func:`image_format`.
        num_samples: Largest number of images, spread evenly over the folder.
        batch_size: Images in a batch.

    Returns:
        Batches ``(N, channels, height, width)`` for pruning, and held-out ones of every
        :data:`HELD_OUT`-th image.

    Raises:
        InputError: There are fewer than :data:`HELD_OUT` readable images.
    """
    paths = find_images(folder)
    num = min(num_samples, len(paths))
    paths = [paths[number * len(paths) // num] for number in range(num)]
    transform = create_transform(**config)
    inputs: list[Tensor] = []
    is_quiet = not CONSOLE.is_terminal
    for path in track(paths, "images", console=CONSOLE, transient=True, disable=is_quiet):
        try:
            inputs.append(transform(Image.fromarray(read_image(path))))
        except BadImageError as e:
            log.warning("%s", e)
    check_count(len(inputs), folder)
    held_out = inputs[HELD_OUT - 1 :: HELD_OUT]
    del inputs[HELD_OUT - 1 :: HELD_OUT]
    measured, others = (list(torch.split(torch.stack(one), batch_size)) for one in (inputs, held_out))
    return measured, others
