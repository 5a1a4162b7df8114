"""Keys of logged values: parse the split and quantity, and classify keys for dashboards and curves."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

SPLITS: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Split that a word in a key means."""

NO_CURVES: Final = ("angles/", "stage/", "gradients/", "update_ratio/", "prune/", "final/")
"""Prefixes of keys that are no curves: the callbacks' measurements of neurons, and the final evaluation."""

_MEASURED: Final = re.compile(
    r"rank/.+/(effective|participation)|neurons/.+/(dormant|cloned|redundant)|cka/.+|"
    r"rank/effective_share(/.+)?|neurons/(dormant|redundant)(/.+)?|"
    r"collapse/(.+/)?(nc1|nc2_angle|nc2_spread|nc4)|sample/(.+/)?(train|val)_loss"
)
"""Keys of the other neuron statistics, and of the losses on the samples used to measure them."""

OVER_LAYERS: Final = {
    "angles/mean": "mean",
    "angles/speed": "speed",
    "angles/similar": "similar",
    "angles/complementary": "complementary",
    "angles/dead": "dead",
    "neurons/dormant": "dormant",
    "neurons/redundant": "redundant",
    "rank/effective_share": "effective_share",
}
"""Keys of means over all layers, with the name of the layer value that each averages."""

_DETAILS: Final = re.compile(
    r"(angles|cka|gradients|neurons|rank)/.+|"  # of one layer, unless the key is in OVER_LAYERS
    r"(stage|update_ratio)/(?!network(/|$)).+|"  # of one layer
    r"val/(ovr_acc|precision|recall|specificity|f1)/.+|"  # of one class
    r"(test|final)/(.+/)?((ovr_acc|precision|recall|specificity)(/.+)?|f1/.+)|"  # of one class, or rare
    r"(test|final)/(.+/)?(nll|nll_calibrated|ece|temperature|num_non_finite|undefined)|"
    r"final/.+/(?!acc$).+"
)


LOWER_IS_BETTER: Final = frozenset(
    {"loss", "error", "err", "mse", "mae", "rmse", "nll", "perplexity", "ppl", "wer", "cer"}
)
"""Words that mark a quantity as better when lower."""

_LOADER: Final = re.compile(r"/dataloader_idx_(\d+)$")
_SEPARATORS: Final = re.compile(r"([/_.\- ]+)")
COUNTERS: Final = frozenset(
    {"epoch", "step", "hp_metric", "created_at", "global_step", "trainer/global_step"}
)
"""Keys that only count steps, epochs or time, or carry no information."""


class LoggedKey(NamedTuple):
    """A parsed key.

    Attributes:
        split: ``train`` or ``val``; empty if the key names none.
        quantity: Name of the loss or metric, in lower case; ``acc`` for accuracy.
        loader: Number of the dataloader if there are several, else empty.
    """

    split: str
    quantity: str
    loader: str = ""

    @property
    def is_loss(self) -> bool:
        """Whether the quantity is a loss."""
        return "loss" in self.quantity


def is_of_neurons(key: str) -> bool:
    """Return whether a key is a measurement by fer's callbacks, which may log several per epoch.

    >>> [is_of_neurons(key) for key in ("rank/conv1/effective", "cka/fc", "sample/val_loss", "rank/mrr")]
    [True, True, True, False]
    """
    return key.startswith(NO_CURVES) or _MEASURED.fullmatch(key) is not None


def is_summary(key: str) -> bool:
    """Return whether a dashboard shows a key by default.

    Keys of a single layer or class are not shown. All others are, including the user's own keys.

    >>> [is_summary(key) for key in ("val/recall", "angles/mean", "stage/network", "test/n", "my_metric")]
    [True, True, True, True, True]
    >>> [is_summary(key) for key in ("val/recall/fear", "angles/conv1/mean", "stage/conv1", "final/val/n")]
    [False, False, False, False]
    """
    of_network = any(f"{key}/".startswith(f"{name}/") for name in OVER_LAYERS)
    return of_network or _DETAILS.fullmatch(key) is None


def parse_key(key: str) -> LoggedKey | None:
    """Parse the split and the quantity that a key names.

    Args:
        key: Key as logged in any project: ``train/loss``, ``val_loss``, ``loss/train``, ``val_acc_epoch``.

    Returns:
        The parsed key; None if its values are not a curve over the epochs of a training: test metrics,
        counters, values of single steps (Lightning's ``…_step``), running bests (``…_best``), learning rates,
        and the callbacks' measurements of neurons.

    >>> [tuple(parse_key(key)) for key in ("train_loss_epoch", "Accuracy/val", "val/recall/fear", "loss")]
    [('train', 'loss', ''), ('val', 'acc', ''), ('val', 'recall/fear', ''), ('', 'loss', '')]
    >>> [parse_key(key) for key in ("test/acc", "train_loss_step", "angles/fc1/mean", "lr-Adam", "epoch")]
    [None, None, None, None, None]
    >>> [parse_key(key) for key in ("sample/encoder/val_loss", "collapse/nc1", "neurons/fc1/dormant")]
    [None, None, None]
    """
    if is_of_neurons(key) or key.endswith(("_step", "_best")):
        return None
    if key in COUNTERS or is_learning_rate(key):
        return None
    found = _LOADER.search(key)
    parts = _SEPARATORS.split(_LOADER.sub("", key).removesuffix("_epoch"))
    place = next((place for place, part in enumerate(parts) if part.casefold() in SPLITS), None)
    split = ""
    if place is not None and len(parts) > 1:
        split = SPLITS[parts[place].casefold()]
        del parts[place : place + 2]
        parts = parts if place < len(parts) else parts[:-1]  # the separator before the last word
    if split == "test":
        return None
    quantity = "".join(parts).casefold()
    return LoggedKey(split, "acc" if quantity == "accuracy" else quantity, found[1] if found else "")


def is_learning_rate(key: str) -> bool:
    """Return whether a key is a learning rate: ``lr``, or one of Lightning's ``LearningRateMonitor``.

    >>> [is_learning_rate(key) for key in ("lr", "lr-SGD/pg1", "learning_rate", "lr_loss")]
    [True, True, True, False]
    """
    return key in ("lr", "learning_rate") or key.startswith("lr-")


def is_lower_better(key: str) -> bool:
    """Return whether a quantity is better when it is lower, such as a loss or an error.

    >>> [is_lower_better(key) for key in ("val/loss", "val_rmse", "val/recall/fear", "val_power")]
    [True, True, False, False]
    """
    words = _SEPARATORS.split(key.casefold())
    return "loss" in key.rpartition("/")[2] or not LOWER_IS_BETTER.isdisjoint(words)


LOGGED_ON_VAL: Final = ("acc", "balanced_acc", "ovr_acc", "precision", "recall", "specificity", "f1")
"""Metrics logged on the validation split in each epoch, besides the recall of each class."""


def logged_on_val(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics that are logged on the validation split, without ``val/``."""
    return (*LOGGED_ON_VAL, *(f"recall/{name}" for name in class_names))


def final_prefix(name: str) -> str:
    """Return the prefix of the keys of a split's final metrics.

    >>> final_prefix("val"), final_prefix("test"), final_prefix("private")
    ('final/val', 'test', 'test/private')
    """
    if name in ("train", "val"):
        return f"final/{name}"
    return "test" if name == "test" else f"test/{name}"


CALIBRATION: Final = ("nll", "nll_calibrated", "ece", "ece_calibrated", "temperature")
"""Calibration metrics of a split: at temperature 1, and ``…_calibrated`` at the temperature fitted on val."""


def acc_key(tta: str) -> str:
    """Return the name of the accuracy with test-time augmentation; without it the name is ``acc``.

    >>> acc_key("flip")
    'acc_tta_flip'
    """
    return f"acc_tta_{tta}"
