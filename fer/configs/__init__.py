"""The experiments that are shipped, one YAML file for each network."""

from pathlib import Path

from fer.errors import InputError, did_you_mean

_FOLDER = Path(__file__).parent


def config_names() -> list[str]:
    """Return the names of the shipped configs, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def config_path(name: str) -> Path:
    """Return the file of a config: a path that exists, or the name of one that is shipped.

    Raises:
        InputError: There is neither.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if name in config_names():
        return _FOLDER / f"{name}.yaml"
    hint = did_you_mean(name, config_names())
    msg = f"--config {name}: no such file, and no shipped config; {hint}shipped: {', '.join(config_names())}"
    raise InputError(msg)
