"""Protocols that replay the tables and figures of the papers, in one mapping."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from fer.data.features import FeatureSplit
from fer.labels import LABEL_TABLES
from fer.studies.papers import feature_items, jain, markou, narayan, run_items, sutton
from fer.studies.papers.facts import Item, Papers
from fer.studies.papers.replay import Replay
from fer.studies.papers.run_items import Runs, Step
from fer.studies.papers.store import Store

OnFeatures = Callable[[Papers, FeatureSplit, Store, bool], Replay]


@dataclass(frozen=True)
class Protocol:
    """How an item is replayed; empty attributes are not part of it.

    Attributes:
        recompute: Returns the numbers that follow from printed ones, by label.
        on_features: Replays networks on SFEW's features, given the facts, the rows, finished parts, and
            whether to be quick.
        steps: Runs of ``fer`` commands.
        read: Returns the replay of the finished runs.
        needs: Description of the data that the steps need.
        hours: Estimated hours that the steps take on two cores (not measured).
    """

    recompute: Callable[[Papers], Mapping[str, float]] | None = None
    on_features: OnFeatures | None = None
    steps: Sequence[Step] = ()
    read: Callable[[Runs], Replay] | None = None
    needs: str = ""
    hours: float = 0

    @property
    def how(self) -> str:
        """How the item is replayed, in one line."""
        parts = []
        if self.recompute is not None:
            parts.append("recomputed from printed facts")
        if self.on_features is not None:
            parts.append("small networks on SFEW's features, some minutes")
        if self.steps:
            commands = sorted({step.command for step in self.steps})
            num = f"{len(self.steps)} runs" if len(self.steps) > 1 else "1 run"
            duration = f"{self.hours:g} h" if self.hours >= 1 else f"{60 * self.hours:.0f} min"
            parts.append(
                f"{num} of fer {' and '.join(commands)} on {self.needs}, about {duration} on two cores"
            )
        return "; ".join(parts)


STILLS: Final = "SFEW's stills"
IMAGENET: Final = "SFEW's stills, ImageNet weights"
FER2013: Final = "FER2013"


def _markou(name: str, label: str, *words: str) -> Step:
    """Return a 4-fold cross-validation with the cyclic learning rate that Markou uses for images."""
    common = (
        *("crossval", "--config", name, "--dataset", "sfew", "--folds", "4", "--data.crop", "viola_jones"),
        *("--model.optimizer", "sgd", "--model.momentum", "0.9", "--model.schedule", "cyclic"),
        *("--model.lr", "0.001", "--model.max_lr", "0.1", "--model.cycle_epochs", "40"),
        *("--trainer.max_epochs", "200", "--data.augment", "markou", *words),
    )
    return Step(f"markou-{name}", label, common, quick=("--folds", "2", *run_items.SHORT_LARGE))


CNN: Final = _markou("conv2", "CNN")
T_RES: Final = _markou("transfer", "T-Res", "--model.backbone", "resnet18")


def _conv4(name: str, label: str, *words: str) -> Step:
    """Return a training of Onghena and Belo's network, with the settings of the config ``conv4``."""
    return Step(f"onghena-{name}", label, ("fit", "--config", "conv4", *words))


def _base(label: str) -> Step:
    """Return the training that all figures share: dropout 0.25, lr 0.0005, cross-entropy, a plateau."""
    return _conv4("base", label)


CHAINS: Final = (
    _base("64-128-1024-512"),
    _conv4("second", "64-256-256-512", "--model.widths", "[64, 256, 256, 512]"),
    _conv4("narrow", "32-64-128-256", "--model.widths", "[32, 64, 128, 256]"),
)


def _sutton(network: str, batch: int, lr: str, epochs: int, label: str = "") -> Step:
    """Return one of Sutton's trainings, with SGD and momentum; the paper does not name the optimizer."""
    size = ("--data.image_size", "32") if network == "alexnet" else ()
    words = (
        *("fit", "--config", network, "--data.protocol", "merged", "--data.batch_size", str(batch)),
        *(
            "--model.optimizer",
            "sgd",
            "--model.momentum",
            "0.9",
            "--model.lr",
            lr,
            "--model.schedule",
            "none",
        ),
        *("--model.label_smoothing", "0", "--model.weight_decay", "0", "--data.augment", "none"),
        *("--trainer.max_epochs", str(epochs), *size),
    )
    return Step(f"sutton-{network}-{batch}-{lr}-{epochs}", label or network, words)


MATRICES: Final[Mapping[str, tuple[Step, float]]] = {
    "fig5": (_sutton("alexnet", 256, "0.005", 50), 0.6),
    "fig6": (_sutton("resnet", 256, "0.005", 50), 5),
    "fig9": (_sutton("resnet", 128, "0.005", 35), 4),
    "fig10": (_sutton("alexnet", 128, "0.005", 50), 0.7),
    "fig13": (_sutton("alexnet", 128, "0.007", 20), 0.3),
    "fig14": (_sutton("resnet", 128, "0.007", 20), 2),
    "fig18": (_sutton("cbam", 128, "0.005", 20), 4),
    "fig20": (_sutton("cbam", 128, "0.005", 50), 9),
}

PAIRS: Final[Mapping[tuple[str, str], tuple[Sequence[Step], float]]] = {
    ("fig3", "fig4"): ([MATRICES["fig5"][0], MATRICES["fig6"][0]], 6),
    ("fig7", "fig8"): ([MATRICES["fig10"][0], MATRICES["fig9"][0]], 5),
    ("fig11", "fig12"): ([MATRICES["fig13"][0], MATRICES["fig14"][0]], 2),
    ("fig16", "fig17"): (
        [MATRICES["fig18"][0], _sutton("resnet", 128, "0.005", 20), _sutton("alexnet", 128, "0.005", 20)],
        7,
    ),
}
"""Pairs of figures that show accuracy and loss over the epochs of the same trainings."""

ROWS: Final = (
    *((10, "0.001", 8), (10, "0.0001", 8), (20, "0.001", 10), (20, "0.0001", 10)),
    *((40, "0.0001", 8), (50, "0.001", 10), (50, "0.0001", 10)),
)
"""Epochs, learning rate and threshold of Narayan and Ge's Table 1."""


def _narayan(epochs: int, lr: str, threshold: int) -> Step:
    words = (
        *("fit", "--config", "conv6", "--dataset", "sfew", "--data.protocol", "80/10/10"),
        *("--data.crop", "mtcnn", "--data.crop_fallback", "drop", "--data.batch_size", "32"),
        *("--data.augment", "narayan", "--model.optimizer", "adam", "--model.lr", lr),
        *("--model.schedule", "none", "--model.label_smoothing", "0", "--model.weight_decay", "0"),
        *("--trainer.max_epochs", str(epochs), "--prune.enabled", "true", "--prune.rule", "narayan"),
        *("--prune.layers", "[conv5]", "--prune.similar_below", str(threshold)),
        *("--prune.complementary_above", str(180 - threshold)),
    )
    return Step(f"narayan-{epochs}-{lr}", f"{epochs} epochs, lr {lr}", words)


NARAYAN: Final = tuple(_narayan(*row) for row in ROWS)
BEST_OF_NARAYAN: Final = next(step for step in NARAYAN if step.label == "40 epochs, lr 0.0001")
CURVE: Final = Step(
    *("narayan-curve", "curve"),
    ("prune", "{run}", "--curve", "true", "--prune.layers", "[conv5]"),
    quick=(),
    needs=BEST_OF_NARAYAN.name,
)


def _jain(name: str, label: str, *words: str, hidden: int = 200, epochs: int = 50, lr: str = "0.001") -> Step:
    """Return a training of Jain's AlexNet with a new head; the paper does not name the optimizer."""
    common = (
        *("fit", "--config", "transfer", "--model.backbone", "alexnet", "--model.hidden", str(hidden)),
        *("--model.schedule", "none", "--model.lr", lr, "--trainer.max_epochs", str(epochs), *words),
    )
    return Step(f"jain-{name}", label, common, quick=run_items.SHORT_LARGE)


def _pruned_head(hidden: int) -> Step:
    return _jain(
        *(f"alexnet-{hidden}", f"AlexNet, {hidden} hidden"),
        *("--prune.enabled", "true", "--prune.rule", "jain"),
        hidden=hidden,
    )


HEADS: Final = tuple(_pruned_head(hidden) for hidden in (200, 500, 1000))

BACKBONES: Final = (
    *(
        Step(
            f"jain-{n}",
            n,
            ("fit", "--config", n, "--dataset", "sfew", "--data.crop", "mtcnn", "--data.protocol", "80/20"),
            quick=run_items.SHORT_LARGE,
        )
        for n in ("conv1", "conv2")
    ),
    *(
        Step(
            f"jain-{name}",
            name,
            ("fit", "--config", "transfer", "--model.backbone", name, "--trainer.max_epochs", "50"),
            quick=run_items.SHORT_LARGE,
        )
        for name in ("resnet18", "resnet50", "resnet152", "vgg13", "alexnet")
    ),
)


def _markou_items() -> dict[str, Protocol]:
    ann_folds = {"fig2": 2, "fig5": 0, "fig7": 1, "fig9": 3, "fig10": 4}
    cnn_folds = {"fig3": 2, "fig4": 0, "fig6": 1, "fig8": 3}
    folds = Protocol(steps=(CNN, T_RES), needs=IMAGENET, hours=20)
    return {
        "s0-table1": Protocol(
            lambda papers: {name.capitalize(): number for number, name in LABEL_TABLES["sfew"].items()}
        ),
        "s0-table2": Protocol(markou.parameters),
        "s0-table3": replace(
            folds,
            recompute=markou.recomputed,
            on_features=_named(feature_items.ann_accuracy),
            read=run_items.folds_accuracy,
        ),
        "s0-table4": replace(
            folds, on_features=_named(feature_items.ann_classes), read=run_items.folds_classes
        ),
        **{
            f"s0-{name}": Protocol(on_features=_named(partial(feature_items.ann_angles, fold)))
            for name, fold in ann_folds.items()
        },
        **{
            f"s0-{name}": Protocol(steps=(CNN,), read=run_items.fold_angles(fold), needs=STILLS, hours=16)
            for name, fold in cnn_folds.items()
        },
    }


def _onghena_items() -> dict[str, Protocol]:
    def on_val(hours: float, *steps: Step) -> Protocol:
        return Protocol(steps=steps, read=run_items.val_accuracies, needs=FER2013, hours=hours)

    def shown(read: Callable[[Runs], Replay]) -> Protocol:
        return Protocol(steps=(_base("base"),), read=read, needs=FER2013, hours=3)

    def dropout(share: str) -> Step:
        return _conv4(f"dropout{share}", f"dropout {share}", "--model.dropout", share)

    gradients = {f"s1-fig{number}": shown(run_items.figure_of("gradient-norms")) for number in range(8, 12)}
    return {
        "s1-fig2": on_val(8, *CHAINS),
        "s1-fig3": on_val(9, dropout("0"), _base("dropout 0.25"), dropout("0.5")),
        "s1-fig4": on_val(
            *(9, _conv4("lr0.005", "lr 0.005", "--model.lr", "0.005"), _base("lr 0.0005")),
            _conv4("lr0.0001", "lr 0.0001", "--model.lr", "0.0001"),
        ),
        "s1-fig5": on_val(
            6, _conv4("constant", "constant", "--model.schedule", "none"), _base("reduced on a plateau")
        ),
        "s1-fig6": on_val(6, _base("cross-entropy"), _conv4("mse", "squared error", "--model.loss", "mse")),
        "s1-fig7": shown(run_items.fer2013_splits),
        **gradients,
        "s1-fig13": shown(run_items.figure_of("confusion-public")),
    }


def _sutton_items() -> dict[str, Protocol]:
    matrices = {
        f"s2-{figure}": Protocol(
            *(partial(sutton.recomputed, figure=figure), None, (step,), run_items.one_matrix, FER2013, hours)
        )
        for figure, (step, hours) in MATRICES.items()
    }
    drawn = {}
    for (accuracy, loss), (steps, hours) in PAIRS.items():
        drawn[f"s2-{accuracy}"] = Protocol(
            steps=steps, read=run_items.curves("val/acc", "accuracy on val"), needs=FER2013, hours=hours
        )
        drawn[f"s2-{loss}"] = Protocol(
            steps=steps, read=run_items.curves("train/loss", "loss on train"), needs=FER2013, hours=hours
        )
    drawn["s2-fig19"] = Protocol(
        steps=(MATRICES["fig20"][0], MATRICES["fig10"][0], MATRICES["fig9"][0]),
        read=run_items.curves("val/acc", "accuracy on val"),
        needs=FER2013,
        hours=14,
    )
    return {**matrices, **drawn}


def _narayan_items() -> dict[str, Protocol]:
    shown = run_items.figure_of("feature-maps")
    return {
        "s3-table1": Protocol(narayan.recomputed, None, NARAYAN, run_items.pruned_accuracies, STILLS, 0.5),
        "s3-fig1": Protocol(steps=(BEST_OF_NARAYAN,), read=shown, needs=STILLS, hours=0.1),
        "s3-fig2": Protocol(
            steps=(BEST_OF_NARAYAN, CURVE), read=run_items.pruning_curve, needs=STILLS, hours=0.2
        ),
    }


def _jain_items() -> dict[str, Protocol]:
    by_size = Protocol(
        *(None, _named(feature_items.by_size), HEADS, run_items.pruned_accuracies, IMAGENET, 1)
    )
    grid = [
        _jain(
            f"{split.replace('/', '-')}-{epochs}-{lr}",
            f"{split}, {epochs} epochs, lr {lr}",
            "--data.protocol",
            split,
            epochs=epochs,
            lr=lr,
        )
        for split in ("70/30", "80/20")
        for epochs in (30, 50, 80)
        for lr in ("0.001", "0.002", "0.003")
    ]
    crops = (
        _jain("uncropped", "before face detector, test", "--data.crop", "none"),
        _jain("cropped", "after face detector, test", "--data.crop", "mtcnn"),
    )
    tables = {
        f"s4-{table}": Protocol(
            *(
                partial(jain.recomputed, after=when == "after"),
                None,
                HEADS[:1],
                run_items.pruned_classes(when),
                IMAGENET,
                0.3,
            )
        )
        for table, when in (("table4", "before"), ("table5", "after"))
    }
    return {
        "s4-table1": Protocol(steps=crops, read=run_items.accuracies, needs=IMAGENET, hours=0.6),
        "s4-table2": Protocol(steps=grid, read=run_items.accuracies, needs=IMAGENET, hours=5),
        "s4-table3": Protocol(None, _named(feature_items.unit_angles)),
        **tables,
        "s4-fig1": Protocol(steps=BACKBONES, read=run_items.accuracies, needs=IMAGENET, hours=3),
        "s4-fig3": Protocol(jain.recomputed_ann, _named(feature_items.ann20_pruned)),
        **{f"s4-{figure}": by_size for figure in ("fig4", "fig5", "fig6")},
    }


def _named(replay: Callable[..., Replay]) -> OnFeatures:
    """Return a replay on features that takes ``quick`` by position."""
    return lambda papers, pool, store, quick: replay(papers, pool, store, quick=quick)


PROTOCOLS: Final[Mapping[str, Protocol]] = {
    **_markou_items(),
    **_onghena_items(),
    **_sutton_items(),
    **_narayan_items(),
    **_jain_items(),
}
"""Protocols by the name of their item."""


def how(item: Item) -> str:
    """Return how an item is replayed, or why it is not."""
    return f"not replayed: {item.why}" if item.why else PROTOCOLS[item.name].how
