"""The audit of a data module, as a table, as JSON, and as a page of images."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.console import Console

from fer.data.audit import AuditReport, Members, audit, is_conflicting, is_straddling
from fer.data.base import ExpressionDataModule
from fer.data.features import FeatureSplit
from fer.errors import InputError
from fer.figures.audit import ImageGroup, Section, audit_figure
from fer.figures.style import DPI, write_figure

CONSOLE: Final = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

MOST_GROUPS: Final = 24
"""Groups that a section of the page shows; the JSON lists all."""

MOST_MEMBERS: Final = 6
"""Images of a group that the page shows."""


def audit_data(data: ExpressionDataModule, *, as_json: bool = False, page: Path | None = None) -> AuditReport:
    """Audit the splits of a data module, print what was found, and draw it.

    Args:
        data: Read and split here, unless it is already.
        as_json: Whether standard output gets all findings as JSON and nothing else, instead of a table.
        page: The PNG to draw, of images; None: none.

    Returns:
        The findings.

    Raises:
        InputError: The data cannot be read, a page was asked for features, which cannot be seen, or it
            cannot be written.
    """
    data.prepare_data()
    data.setup()
    if page is not None and isinstance(data.splits["train"], FeatureSplit):
        msg = f"--page {page}: this data has features and no images; leave --page out"
        raise InputError(msg)
    # Others, such as the clean rests of tests, are parts of these.
    names = ("train", "val", *data.test_names)
    report = audit({name: data.splits[name] for name in names}, data.class_names)
    if page is not None:
        _write_page(data, report, page)
    if as_json:
        CONSOLE.print(json.dumps({"protocol": data.protocol_name, **report.to_dict()}, indent=2))
    else:
        CONSOLE.print(f"splits: {data.protocol_name}\n\n{report.table()}")
        if page is not None:
            CONSOLE.print(f"\npage  {page}")
    return report


def _write_page(data: ExpressionDataModule, report: AuditReport, page: Path) -> None:
    """Draw the page and write it."""
    title = f"Audit: {data.protocol_name}"
    figure = audit_figure(report.class_counts, list(_sections(data, report)), title, report.class_names)
    try:
        with warnings.catch_warnings():
            # A file name in a script that matplotlib's own font does not have shows boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            write_figure(figure, page, DPI)
    except OSError as e:
        msg = f"--page {page} cannot be written: {e.strerror}; name another file"
        raise InputError(msg) from e


def _sections(data: ExpressionDataModule, report: AuditReport) -> Iterable[Section]:
    """Yield what there is to be seen: conflicts first, then what straddles the splits, then the rest."""
    duplicates = (("Identical", report.identical), ("Near duplicates", report.near))
    wanted = (
        ("with more than one label", is_conflicting),
        ("in more than one split", lambda group: is_straddling(group) and not is_conflicting(group)),
        ("within one split", lambda group: not is_straddling(group) and not is_conflicting(group)),
    )
    for what, is_wanted in wanted:
        for kind, groups in duplicates:
            yield from _section(data, f"{kind} {what}", [group for group in groups if is_wanted(group)])
    yield from _section(data, "Blank", [(member,) for member in report.blank])


def _section(data: ExpressionDataModule, title: str, groups: list[Members]) -> Iterable[Section]:
    """Yield the section of some groups, if there are any."""
    if groups:
        shown = groups[:MOST_GROUPS]
        few = "" if len(groups) == len(shown) else f", the first {len(shown)}"
        yield Section(f"{title}: {len(groups):,}{few}", [_image_group(data, group) for group in shown])


def _image_group(data: ExpressionDataModule, members: Members) -> ImageGroup:
    shown = members[:MOST_MEMBERS]
    captions = [f"{member.label}\n{member.split}\n{member.name}" for member in shown]
    if len(members) > len(shown):
        captions[-1] += f"\nand {len(members) - len(shown)} more"
    return ImageGroup(
        [data.splits[member.split].images[member.row] for member in shown],
        captions,
        stands_out=is_conflicting(members),
    )
