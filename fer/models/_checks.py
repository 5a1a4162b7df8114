"""Guards on the settings that the networks share; each refusal says the way out."""

from collections.abc import Sequence

from fer.errors import InputError


def check_image_size(network: str, image_size: int, *, smallest: int) -> None:
    """Refuse images that would shrink to nothing on their way through the network.

    Args:
        network: Name of the network, for the message.
        image_size: Height and width of the images in pixels.
        smallest: Smallest size that leaves one position at the end.

    Raises:
        InputError: The images are too small.
    """
    if image_size < smallest:
        msg = f"image_size={image_size} is too small for {network}: it must be at least {smallest}"
        raise InputError(msg)


def check_widths(network: str, name: str, widths: Sequence[int], *, lengths: tuple[int, ...]) -> None:
    """Refuse a tuple of layer widths of the wrong length, or with an empty layer.

    Args:
        network: Name of the network, for the message.
        name: Name of the setting, for the message.
        widths: Number of neurons of each layer.
        lengths: Numbers of layers that the network can have.

    Raises:
        InputError: There are too few or too many widths, or one is below 1.
    """
    if len(widths) not in lengths:
        wanted = " or ".join(map(str, lengths))
        msg = f"{name}={tuple(widths)} does not fit {network}: it takes {wanted} widths, not {len(widths)}"
        raise InputError(msg)
    if min(widths) < 1:
        msg = f"{name}={tuple(widths)} does not fit {network}: each width must be at least 1"
        raise InputError(msg)


def check_counts(network: str, **counts: int) -> None:
    """Refuse a number of inputs, neurons, channels or classes below 1.

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
    """Refuse a dropout probability that is none, or that leaves no neuron.

    Args:
        network: Name of the network, for the message.
        dropout: Probability of a neuron to be left out in training.

    Raises:
        InputError: The probability is not in [0, 1).
    """
    if not 0 <= dropout < 1:
        msg = f"dropout={dropout} does not fit {network}: it must be at least 0 and below 1"
        raise InputError(msg)


def check_choice(network: str, name: str, choice: object, *, choices: Sequence[object]) -> None:
    """Refuse a setting that is none of the choices.

    Args:
        network: Name of the network, for the message.
        name: Name of the setting, for the message.
        choice: What was given.
        choices: What can be given.

    Raises:
        InputError: It is none of the choices.
    """
    if choice not in choices:
        msg = f"{name}={choice!r} does not fit {network}: it must be one of {', '.join(map(str, choices))}"
        raise InputError(msg)
