"""Keys under which values are logged during a training: the split and the quantity that each names."""

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
"""By word in a key the split that it means."""

NO_CURVES: Final = ("angles/", "stage/", "gradients/", "update_ratio/", "prune/", "final/")
"""What the keys begin with that the callbacks log of neurons, and our tasks of the last evaluation."""

_MEASURED: Final = re.compile(
    r"rank/.+/(effective|participation)|neurons/.+/(dormant|cloned|redundant)|cka/.+|"
    r"rank/effective_share(/.+)?|neurons/(dormant|redundant)(/.+)?|"
    r"collapse/(.+/)?(nc1|nc2_angle|nc4)|sample/(train|val)_loss"
)
"""Keys of the other statistics of neurons, and of the losses on the samples that they are measured on."""

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
"""Keys of means over all layers, and for each key the value of a layer that is averaged."""

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
"""Words in the name of a quantity that is better when it is lower."""

_LOADER: Final = re.compile(r"/dataloader_idx_(\d+)$")
_SEPARATORS: Final = re.compile(r"([/_.\- ]+)")
COUNTERS: Final = frozenset(
    {"epoch", "step", "hp_metric", "created_at", "global_step", "trainer/global_step"}
)
"""Keys that say when a row was logged, or nothing."""


class LoggedKey(NamedTuple):
    """What a key says.

    Attributes:
        split: ``train`` or ``val``; empty: the key names none.
        quantity: Name of the loss or metric, in lower case; ``acc`` for any accuracy.
        loader: Number of the dataloader, of several; empty: there is one.
    """

    split: str
    quantity: str
    loader: str = ""

    @property
    def is_loss(self) -> bool:
        """Whether it is a loss."""
        return "loss" in self.quantity


def is_of_neurons(key: str) -> bool:
    """Return whether a key is one of the callbacks' own measurements, of which an epoch may have several.

    >>> [is_of_neurons(key) for key in ("rank/conv1/effective", "cka/fc", "sample/val_loss", "rank/mrr")]
    [True, True, True, False]
    """
    return key.startswith(NO_CURVES) or _MEASURED.fullmatch(key) is not None


def is_summary(key: str) -> bool:
    """Return whether a dashboard shows a key by default.

    Keys of a single layer or a single class are not shown. All others are, also the user's own.

    >>> [is_summary(key) for key in ("val/recall", "angles/mean", "stage/network", "test/n", "my_metric")]
    [True, True, True, True, True]
    >>> [is_summary(key) for key in ("val/recall/fear", "angles/conv1/mean", "stage/conv1", "final/val/n")]
    [False, False, False, False]
    """
    of_network = any(f"{key}/".startswith(f"{name}/") for name in OVER_LAYERS)
    return of_network or _DETAILS.fullmatch(key) is None


def parse_key(key: str) -> LoggedKey | None:
    """Return the split and the quantity that a key names.

    Args:
        key: As logged in any project: ``train/loss``, ``val_loss``, ``loss/train``, ``val_acc_epoch``.

    Returns:
        None for what is no curve over the epochs of a training: metrics of the test, counters, values of a
        single step (Lightning's ``…_step``), running bests (``…_best``), learning rates, and what the
        callbacks say of neurons.

    >>> [tuple(parse_key(key)) for key in ("train_loss_epoch", "Accuracy/val", "val/recall/fear", "loss")]
    [('train', 'loss', ''), ('val', 'acc', ''), ('val', 'recall/fear', ''), ('', 'loss', '')]
    >>> [parse_key(key) for key in ("test/acc", "train_loss_step", "angles/fc1/mean", "lr-Adam", "epoch")]
    [None, None, None, None, None]
    >>> [parse_key(key) for key in ("sample/val_loss", "collapse/encoder/nc1", "neurons/fc1/dormant")]
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
    """Return whether a quantity is better when it is lower, as a loss or an error is.

    >>> [is_lower_better(key) for key in ("val/loss", "val_rmse", "val/recall/fear", "val_power")]
    [True, True, False, False]
    """
    words = _SEPARATORS.split(key.casefold())
    return "loss" in key.rpartition("/")[2] or not LOWER_IS_BETTER.isdisjoint(words)


LOGGED_ON_VAL: Final = ("acc", "balanced_acc", "ovr_acc", "precision", "recall", "specificity", "f1")
"""Metrics logged on the validation split each epoch, beside the recall of each class."""


def logged_on_val(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics that are logged on the validation split, without ``val/``."""
    return (*LOGGED_ON_VAL, *(f"recall/{name}" for name in class_names))


def final_prefix(name: str) -> str:
    """Return the key under which a split's final metrics are logged.

    >>> final_prefix("val"), final_prefix("test"), final_prefix("private")
    ('final/val', 'test', 'test/private')
    """
    if name in ("train", "val"):
        return f"final/{name}"
    return "test" if name == "test" else f"test/{name}"


CALIBRATION: Final = ("nll", "nll_calibrated", "ece", "ece_calibrated", "temperature")
"""Metrics of a tested split's probabilities: with temperature 1, and ``…_calibrated`` with that of val."""


def acc_key(tta: str) -> str:
    """Return the name of an accuracy of several views, beside which the plain one is ``acc``.

    >>> acc_key("flip")
    'acc_tta_flip'
    """
    return f"acc_tta_{tta}"
