"""Refuse settings that leave nothing to train, to select or to test, before a run starts."""

from typing import Final

from jsonargparse import Namespace

from fer.errors import InputError

EMPTY: Final = {
    "max_epochs": ("fit", "nothing would be trained"),
    "limit_train_batches": ("fit", "nothing would be trained"),
    "limit_val_batches": ("fit validate", "no checkpoint could be selected without validation"),
    "limit_test_batches": ("fit test", "nothing would be tested; --test false leaves the test out"),
    "limit_predict_batches": ("predict", "nothing would be predicted"),
}
"""By setting of the trainer that must not be 0 the commands that need it, and what would happen."""

MAX_SEED: Final = 2**32 - 1
"""NumPy's largest seed."""


def check_settings(config: Namespace, command: str) -> None:
    """Refuse settings of a run with which a command could do nothing, and seeds that NumPy does not take.

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
            msg = f"trainer.{name} is 0: {effect}"
            raise InputError(msg)
