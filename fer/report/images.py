"""Images that a run has drawn, as part of the page."""

import base64
from pathlib import Path
from typing import Final

IMAGES: Final = {
    "predictions": (
        "Some images of the test split and what the network takes them for",
        "Faces, each with a bar for the probability of every expression; a mistake is framed by dashes, with "
        "the truth beside it.",
    ),
    "feature-maps": (
        "One face, as each layer sees it",
        "The feature maps of each layer for one image.",
    ),
}
"""By the name of a figure its title, and what is to be seen on it, for those who cannot see it."""

MOST_BYTES: Final = 600_000
"""Of an image's file. A larger one is named instead: it would make the page slow."""


def images(run_dir: Path) -> list[dict[str, str]]:
    """Return the figures of a run that the page shows, each whole, as a ``data:`` address.

    Args:
        run_dir: The run's folder.

    Returns:
        For each its ``title``, ``alt`` text and ``src``; of one that is too large, ``title`` and ``path``.
    """
    found = []
    for name, (title, alt) in IMAGES.items():
        path = run_dir / "figures" / f"{name}.png"
        if not path.is_file():
            continue
        if path.stat().st_size > MOST_BYTES:
            found.append({"title": title, "path": f"figures/{path.name}"})
            continue
        content = base64.b64encode(path.read_bytes()).decode()
        found.append({"title": title, "alt": alt, "src": f"data:image/png;base64,{content}"})
    return found
