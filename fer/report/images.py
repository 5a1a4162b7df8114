"""Embed figures of a run in the page."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PREDICTIONS: Final = {
    "predictions": (
        "Images of the test split with their predictions",
        "Images, each with a bar for the probability of every class; a mistake has a dashed frame, and the "
        "true class beside it.",
    ),
}
"""Title of the figure of the results, and its text for screen readers, by the figure's name."""

FEATURE_MAPS: Final = {
    "feature-maps": (
        "Feature maps of one image",
        "The feature maps of each layer for one image.",
    ),
}
"""The same of the figure of the hidden neurons."""

PRUNING: Final = {
    "prune": (
        "Before and after pruning",
        "Neurons removed from each layer by reason; accuracy, size, latency and recall before and after.",
    ),
}
"""The same of the figure of a pruning."""

RELIABILITY: Final = {
    f"reliability-{split}": (
        f"Reliability on {split}",
        "Accuracy against the probability of the predicted class, before and after calibration.",
    )
    for split in ("test", "val")
}
"""Titles and texts of the calibration figures."""

EMBEDDED: Final = "data:image/png;base64,"
"""Start of the address of an embedded image."""

PNG: Final = b"\x89PNG\r\n\x1a\n"
"""Signature at the start of every PNG file."""

MOST_BYTES: Final = 600_000
"""Largest image file in bytes that the page embeds; a larger one would slow it down, and is only named."""


def images(run_dir: Path, shown: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    """Return the figures of a run that the page shows, as ``data:`` addresses.

    Args:
        run_dir: The run's folder.
        shown: Title of each figure, and its text for screen readers, by the figure's name.

    Returns:
        The ``name``, ``title``, ``alt`` text and ``src`` of each figure; ``title`` and ``path`` if it is too
        large.
    """
    found = []
    for name, (title, alt) in shown.items():
        path = run_dir / "figures" / f"{name}.png"
        # The page may be sent to others: a link to a file elsewhere is not followed.
        if path.is_symlink() or not path.is_file() or not _is_png(path):
            continue
        if path.stat().st_size > MOST_BYTES:
            found.append({"title": title, "path": f"figures/{path.name}"})
            continue
        content = base64.b64encode(path.read_bytes()).decode()
        found.append({"name": name, "title": title, "alt": alt, "src": f"{EMBEDDED}{content}"})
    return found


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG
