"""Checks of the settings of :class:`fer.callbacks.distinctiveness.DistinctivenessCallback`."""

from fer.errors import InputError


def check_intervals(
    every_n_steps: int | None, every_n_epochs: int | None, budget: float, first_step: int
) -> None:
    """Refuse settings of a schedule that are out of range, or contradict each other.

    Raises:
        InputError: The message names the setting.
    """
    for name, interval in (("every_n_epochs", every_n_epochs), ("every_n_steps", every_n_steps)):
        if interval is not None and interval < 0:
            msg = f"distinctiveness.{name} is {interval}: it must be 0 (never) or more"
            raise InputError(msg)
    if every_n_epochs and every_n_steps:
        msg = (
            f"distinctiveness.every_n_steps is {every_n_steps} and every_n_epochs is {every_n_epochs}: set "
            "one of them, and leave the other out (null)"
        )
        raise InputError(msg)
    if not 0 < budget <= 1:
        msg = (
            f"distinctiveness.budget is {budget}: it must be a share of the training time, more than 0 and "
            "at most 1; --distinctiveness.every_n_epochs 0 measures nothing"
        )
        raise InputError(msg)
    if first_step < 0:
        msg = f"distinctiveness.first_step is {first_step}: it must be 0 or more"
        raise InputError(msg)


def check_counts(num_samples: int, keep_epochs: int | None) -> None:
    """Refuse fewer samples than an angle needs, and keeping the files of no epoch.

    Raises:
        InputError: The message names the setting.
    """
    if num_samples < 2:
        msg = f"distinctiveness.num_samples is {num_samples}: angles need 2 samples or more"
        raise InputError(msg)
    if keep_epochs is not None and keep_epochs < 1:
        msg = f"distinctiveness.keep_epochs is {keep_epochs}: it must be 1 or more, or null for all"
        raise InputError(msg)
