"""The command ``fer prune --timm``: any network of timm made smaller, on any images."""

import time
from collections.abc import Sequence
from pathlib import Path

from fer.callbacks import PruneCallback
from fer.commands.parsing import make_parser, parse
from fer.errors import InputError
from fer.prune_timm import prune_timm as prune_network


def prune_timm(arguments: Sequence[str]) -> None:
    """Prune a network of timm; the settings are those of ``fer prune``."""
    parser = make_parser(
        "fer prune --timm NAME",
        "Make a network of timm smaller, without the neurons that others can stand for on these "
        "images. There are no labels: it is said how often both networks choose the same class.",
    )
    parser.usage = "fer prune --timm NAME --images FOLDER [settings]"
    parser.add_argument("--timm", type=str, required=True, help="name of the network: timm.list_models()")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of images, at any depth, like those it is for"
    )
    parser.add_argument(
        "--weights", type=Path | None, default=None, help="its state dict: .pth, .bin or .safetensors"
    )
    parser.add_argument(
        "--out", type=Path | None, default=None, help="folder for pruned.pt and prune.json (runs/NAME-TIME)"
    )
    parser.add_argument("--batch_size", type=int, default=64, help="images at a time")
    parser.add_class_arguments(PruneCallback, "prune", skip={"enabled"})
    given = parse(parser, arguments)
    if given.batch_size < 1:
        msg = f"--batch_size is {given.batch_size}: it must be 1 or more"
        raise InputError(msg)
    pruning = PruneCallback(**given.prune.as_dict())
    out = given.out or Path("runs") / f"{given.timm}-{time.strftime('%Y%m%d-%H%M%S')}-prune"
    prune_network(
        given.timm,
        given.images,
        out,
        weights=given.weights,
        num_samples=pruning.num_samples,
        batch_size=given.batch_size,
        idle_below=pruning.idle_below,
        **pruning.settings,
    )
