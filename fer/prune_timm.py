"""Any network of timm made smaller, on any images: pruned by distinctiveness, without labels."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import timm
import torch
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from fer.callbacks.prune import Size, gone_blocks, sizes_of
from fer.data.reading import BadImageError, find_images, read_image
from fer.errors import InputError, did_you_mean
from fer.files import atomic_write
from fer.metrics import wilson_interval
from fer.models.transfer import read_state
from fer.neurons import Pruned, eval_state, prune

HELD_OUT: Final = 5
"""One image of so many is not measured on, and tells how the smaller network does on others."""

CONSOLE: Final = Console(highlight=False, soft_wrap=True)

log = logging.getLogger("fer.prune_timm")


class Agreement(NamedTuple):
    """On how many images two networks choose the same class.

    Attributes:
        same: Images of which the largest logit is the same one's.
        n: All images.
    """

    same: int
    n: int

    def __str__(self) -> str:
        """Return the share with its Wilson 95 % interval."""
        low, high = wilson_interval(self.same, self.n)
        share = self.same / self.n
        return f"{100 * share:.2f} % [{100 * low:.2f}, {100 * high:.2f}], {self.same:,} of {self.n:,}"


def prune_timm(
    name: str,
    images: Path,
    out: Path,
    *,
    weights: Path | None = None,
    num_samples: int,
    batch_size: int = 64,
    **settings: Any,
) -> dict[str, Any]:
    """Prune a network of timm, write the smaller one and what it costs, say it, and return it.

    ``pruned.pt`` is ``{"model", "widths", "state_dict"}``, which ``torch.load(…, weights_only=True)`` reads
    and ``fer.neurons.resize(timm.create_model(model, num_classes=…), widths)`` has the place for;
    ``prune.json`` holds the numbers. Images are resized and normalised as timm has it for the network.

    Args:
        name: Of the network, as timm has it.
        images: Folder with images, at any depth; class folders mean nothing here.
        out: Folder for both files.
        weights: State dict, as ``.pth``, ``.bin`` or ``.safetensors``; None: the network is not trained.
        num_samples: Images to read, at most, spread evenly over the folder.
        batch_size: Images at a time.
        **settings: Of :func:`fer.neurons.prune`.

    Raises:
        InputError: The name, a file or the folder cannot be used, or as of :func:`fer.neurons.prune`.
    """
    network = load_timm(name, weights)
    batches, held_out = read_batches(network, images, num_samples=num_samples, batch_size=batch_size)
    with CONSOLE.status("pruning"):
        pruned = prune(network, batches, **settings)
        layers = pruned.report["groups"]
        sizes = sizes_of({"before": network, "after": pruned.network}, batches[0])
        agreements = {
            "measured": agreement(network, pruned.network, batches),
            "held out": agreement(network, pruned.network, held_out),
        }
    results = {
        "model": name,
        "weights": None if weights is None else str(weights),
        "num_classes": network.num_classes,
        "settings": settings,
        **{when: asdict(size) for when, size in sizes.items()},
        "agreement": {which: one._asdict() for which, one in agreements.items()},
        "layers": layers,
        "blocks": dict(pruned.report["blocks"]),
        "refused": dict(pruned.report["refused"]),
    }
    state = {key: value.contiguous() for key, value in pruned.network.state_dict().items()}
    with atomic_write(out / "pruned.pt") as file:
        torch.save({"model": name, "widths": dict(pruned.widths), "state_dict": state}, file)
    with atomic_write(out / "prune.json") as file:
        file.write(json.dumps(results, indent=1).encode() + b"\n")
    CONSOLE.print(_table(pruned, layers, sizes, agreements), markup=False)
    CONSOLE.print(_usage(network, out / "pruned.pt"), markup=False)
    return results


def load_timm(name: str, weights: Path | None) -> nn.Module:
    """Return a network of timm in eval mode, with as many classes as its weights have.

    Raises:
        InputError: timm has no such network, or the file does not hold its weights.
    """
    if not timm.is_model(name):
        near = did_you_mean(name, timm.list_models())
        msg = f"--timm {name}: timm has no such network: {near}python -c 'import timm; timm.list_models()'"
        raise InputError(msg)
    if weights is None:
        log.warning(
            "%s is untrained without --weights: what is similar in it is chance, and the numbers say nothing "
            "about a trained one",
            name,
        )
        return timm.create_model(name).eval()
    state = read_state(weights)
    settings: dict[str, Any] = {}
    classifier = timm.get_pretrained_cfg_value(name, "classifier")
    if isinstance(classifier, str) and f"{classifier}.weight" in state:
        settings["num_classes"] = len(state[f"{classifier}.weight"])
    network: nn.Module = timm.create_model(name, **settings).eval()
    try:
        network.load_state_dict(state)
    except RuntimeError as e:
        reason = " ".join(str(e).split())
        shown = reason if len(reason) < 300 else f"{reason[:300]} …"
        msg = f"--weights {weights} does not hold the weights of {name}: {shown}"
        raise InputError(msg) from e
    return network


def read_batches(
    network: nn.Module, folder: Path, *, num_samples: int, batch_size: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the images of a folder as a network of timm wants them.

    Args:
        network: The network.
        folder: With images, at any depth; those that cannot be read are named and left out.
        num_samples: Images to read, at most.
        batch_size: Images at a time.

    Returns:
        Batches ``(N, channels, height, width)`` to measure on, and those of each :data:`HELD_OUT`-th image.

    Raises:
        InputError: There are fewer images than :data:`HELD_OUT` that can be read.
    """
    paths = find_images(folder)
    num = min(num_samples, len(paths))
    paths = [paths[number * len(paths) // num] for number in range(num)]
    config = resolve_data_config({}, model=network)  # type: ignore[no-untyped-call]
    transform = create_transform(**config)
    inputs: list[Tensor] = []
    with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as progress:
        for path in progress.track(paths, description="images"):
            try:
                inputs.append(transform(Image.fromarray(read_image(path))))
            except BadImageError as e:
                log.warning("%s", e)
    if len(inputs) < HELD_OUT:
        msg = f"--images {folder}: {len(inputs)} images can be read there; give {HELD_OUT}, better thousands"
        raise InputError(msg)
    held_out = inputs[HELD_OUT - 1 :: HELD_OUT]
    del inputs[HELD_OUT - 1 :: HELD_OUT]
    measured, others = (list(torch.split(torch.stack(one), batch_size)) for one in (inputs, held_out))
    return measured, others


def agreement(network: nn.Module, other: nn.Module, batches: Iterable[Tensor]) -> Agreement:
    """Return on how many samples two networks choose the same class."""
    same = n = 0
    with eval_state(network), eval_state(other):
        for batch in batches:
            same += int((network(batch).argmax(dim=1) == other(batch).argmax(dim=1)).sum())
            n += len(batch)
    return Agreement(same, n)


def _table(
    pruned: Pruned,
    layers: Mapping[str, Mapping[str, int]],
    sizes: Mapping[str, Size],
    agreements: Mapping[str, Agreement],
) -> str:
    """Return what went as text: a line for each layer, then both networks side by side."""
    reasons = [reason for reason in next(iter(layers.values())) if reason not in ("before", "after")]
    width = max([len("layer"), *map(len, layers)])
    lines = [f"{'layer':<{width}}  neurons     left" + "".join(f"{reason:>15}" for reason in reasons)]
    for name, layer in layers.items():
        went = "".join(f"{layer[reason]:15,}" for reason in reasons)
        lines.append(f"{name:<{width}}  {layer['before']:7,}  {layer['after']:7,}{went}")
    lines += [f"{name}: all stay: {reason}" for name, reason in pruned.report["refused"].items()]
    lines += gone_blocks(pruned.report["blocks"])
    before, after = sizes["before"], sizes["after"]
    rows: list[tuple[str, str, Sequence[float]]] = [
        ("parameters", ",", (before.parameters, after.parameters)),
        ("multiply-adds", ",", (before.macs, after.macs)),
        ("file, bytes", ",", (before.bytes, after.bytes)),
        *(
            (f"ms, batch of {num}", ".2f", (before.milliseconds[num], after.milliseconds[num]))
            for num in before.milliseconds
        ),
    ]
    lines += ["", f"{'':<22} {'before':>14} {'after':>14}"]
    lines += [
        f"{name:<22} {old:>14{form}} {new:>14{form}}   {new / old:.3f} of it"
        for name, form, (old, new) in rows
    ]
    lines.append("the same class (top-1), before and after")
    lines += [f"  {which:<20} {found}" for which, found in agreements.items()]
    return "\n".join(lines)


def _usage(network: nn.Module, path: Path) -> str:
    """Return how the file is loaded."""
    return (
        f"\npruned       {path}\nuse it\n  content = torch.load({str(path)!r}, weights_only=True)\n"
        f"  network = timm.create_model(content['model'], num_classes={network.num_classes})\n"
        "  network = fer.neurons.resize(network, content['widths'])\n"
        "  network.load_state_dict(content['state_dict'])"
    )
