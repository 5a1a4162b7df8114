"""Audit a data module, and report the findings as a table, as JSON, and as a page of images."""

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
"""Largest number of groups in a section of the page; the JSON lists all."""

MOST_MEMBERS: Final = 6
"""Largest number of images of a group on the page."""


def audit_data(data: ExpressionDataModule, *, as_json: bool = False, page: Path | None = None) -> AuditReport:
    """Audit the splits of a data module, print the findings, and draw them.

    Args:
        data: The data module; it is set up here.
        as_json: Whether to print all findings as JSON, and nothing else, instead of a table.
        page: PNG file for a page of the images found; None: no page.

    Returns:
        The findings.

    Raises:
        InputError: The data cannot be read, the page cannot be written, or a page is asked for although the
            data has features instead of images.
    """
    data.prepare_data()
    data.setup()
    if page is not None and isinstance(data.splits["train"], FeatureSplit):
        msg = f"--page {page}: this data has features and no images; leave --page out"
        raise InputError(msg)
    # Other splits, such as test splits without duplicates, are parts of these.
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
            # Characters of a file name that matplotlib's font lacks are shown as boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            write_figure(figure, page, DPI)
    except OSError as e:
        msg = f"--page {page} cannot be written: {e.strerror}; name another file"
        raise InputError(msg) from e


def _sections(data: ExpressionDataModule, report: AuditReport) -> Iterable[Section]:
    """Yield the sections of the page: conflicting labels first, then leaks between splits, then the rest."""
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
