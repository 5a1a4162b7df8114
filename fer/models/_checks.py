"""Checks of network settings; every error says what is allowed."""

from collections.abc import Sequence

from fer.errors import InputError


def check_image_size(network: str, image_size: int, *, smallest: int) -> None:
    """Check that images are large enough not to shrink to nothing in the network.

    Args:
        network: Name of the network, for the message.
        image_size: Height and width of the images in pixels.
        smallest: Smallest size that leaves one position in the last feature map.

    Raises:
        InputError: The images are too small.
    """
    if image_size < smallest:
        msg = f"image_size={image_size} is too small for {network}: it must be at least {smallest}"
        raise InputError(msg)


def check_widths(network: str, name: str, widths: Sequence[int], *, lengths: tuple[int, ...]) -> None:
    """Check a tuple of layer widths.

    Args:
        network: Name of the network, for the message.
        name: Name of the setting, for the message.
        widths: Number of neurons of each layer.
        lengths: Allowed numbers of layers.

    Raises:
        InputError: The number of widths is not allowed, or one is below 1.
    """
    if len(widths) not in lengths:
        wanted = " or ".join(map(str, lengths))
        msg = f"{name}={tuple(widths)} does not fit {network}: it takes {wanted} widths, not {len(widths)}"
        raise InputError(msg)
    if min(widths) < 1:
        msg = f"{name}={tuple(widths)} does not fit {network}: each width must be at least 1"
        raise InputError(msg)


def check_counts(network: str, **counts: int) -> None:
    """Check numbers of inputs, neurons, channels or classes.

    Args:
        network: Name of the network, for the message.
        **counts: The settings by name.

    Raises:
        InputError: A number is below 1.
    """
    for name, count in counts.items():
        if count < 1:
            msg = f"{name}={count} does not fit {network}: it must be at least 1"
            raise InputError(msg)


def check_dropout(network: str, dropout: float) -> None:
    """Check a dropout probability.

    Args:
        network: Name of the network, for the message.
        dropout: Dropout probability.

    Raises:
        InputError: The probability is not in [0, 1).
    """
    if not 0 <= dropout < 1:
        msg = f"dropout={dropout} does not fit {network}: it must be at least 0 and below 1"
        raise InputError(msg)


def check_choice(network: str, name: str, choice: object, *, choices: Sequence[object]) -> None:
    """Check that a setting is one of its choices.

    Args:
        network: Name of the network, for the message.
        name: Name of the setting, for the message.
        choice: Value of the setting.
        choices: Allowed values.

    Raises:
        InputError: It is not one of the choices.
    """
    if choice not in choices:
        msg = f"{name}={choice!r} does not fit {network}: it must be one of {', '.join(map(str, choices))}"
        raise InputError(msg)
