"""Refuse settings that leave nothing to train, to select or to test, before a run starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jsonargparse import Namespace

from fer.errors import InputError

EMPTY: Final = {
    "max_epochs": ("fit", "nothing would be trained"),
    "max_steps": ("fit", "nothing would be trained"),
    "limit_train_batches": ("fit", "nothing would be trained"),
    "limit_val_batches": ("fit validate", "no checkpoint could be selected without validation"),
    "limit_test_batches": ("fit test", "nothing would be tested (--test false skips the test)"),
    "limit_predict_batches": ("predict", "nothing would be predicted"),
}
"""Trainer settings that must not be 0: the commands that need each, and the consequence."""

MAX_SEED: Final = 2**32 - 1
"""NumPy's largest seed."""


def check_settings(config: Namespace, command: str) -> None:
    """Refuse settings that leave a command nothing to do, and seeds that NumPy does not accept.

    Raises:
        InputError: The message names the setting.
    """
    seed = config.seed_everything
    if not isinstance(seed, bool) and not 0 <= seed <= MAX_SEED:
        msg = f"seed_everything is {seed}: it must be 0 to {MAX_SEED}"
        raise InputError(msg)
    for name, (commands, effect) in EMPTY.items():
        is_needed = command in commands.split() and (name, config.test) != ("limit_test_batches", False)
        if is_needed and config.trainer[name] == 0:
            msg = f"trainer.{name} is 0: {effect}; set it above 0"
            raise InputError(msg)
    interval, max_epochs = config.trainer.check_val_every_n_epoch, config.trainer.max_epochs
    if command == "fit" and interval is not None and 0 < (max_epochs or 0) < interval:
        msg = (
            f"trainer.check_val_every_n_epoch is {interval}, and training has {max_epochs} epochs: no "
            f"checkpoint could be selected without validation; set it to {max_epochs} or less"
        )
        raise InputError(msg)


@contextmanager
def explained_interval(interval: int | float | None) -> Iterator[None]:
    """Explain Lightning's error about ``trainer.val_check_interval``, raised when training starts.

    Raises:
        InputError: An epoch has fewer batches than the interval.
    """
    try:
        yield
    except ValueError as e:
        if isinstance(e, InputError) or "`val_check_interval`" not in str(e):
            raise
        msg = (
            f"trainer.val_check_interval is {interval}, more than the batches of an epoch: set it to a share "
            "of an epoch, such as 0.5, or set trainer.check_val_every_n_epoch to null to count batches "
            "across epochs"
        )
        raise InputError(msg) from e
