"""Figures of a run that are part of the page."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Final

IMAGES: Final = {
    "predictions": (
        "Images of the test split with their predictions",
        "Images, each with a bar for the probability of every class; a mistake has a dashed frame, and the "
        "true class beside it.",
    ),
    "feature-maps": (
        "Feature maps of one image",
        "The feature maps of each layer for one image.",
    ),
}
"""By the name of a figure its title and its text for screen readers."""

RELIABILITY: Final = {
    f"reliability-{split}": (
        f"Reliability on {split}",
        "Share of right answers over the probability of the predicted class, before and after calibration.",
    )
    for split in ("test", "val")
}
"""The same of the figures on calibration."""

PNG: Final = b"\x89PNG\r\n\x1a\n"
"""How every PNG begins."""

MOST_BYTES: Final = 600_000
"""Largest image file that the page holds; a larger one, which would make the page slow, is only named."""


def images(run_dir: Path, shown: Mapping[str, tuple[str, str]] = IMAGES) -> list[dict[str, str]]:
    """Return the figures of a run that the page shows, as ``data:`` addresses.

    Args:
        run_dir: The run's folder.
        shown: By the name of a figure its title and its text for screen readers.

    Returns:
        For each its ``title``, ``alt`` text and ``src``; of one that is too large, ``title`` and ``path``.
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
        found.append({"title": title, "alt": alt, "src": f"data:image/png;base64,{content}"})
    return found


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG
