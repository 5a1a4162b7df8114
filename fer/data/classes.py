"""Mapping of a data set's folders to classes: the setting ``data.classes``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fer.errors import InputError, did_you_mean
from fer.labels import EXPRESSIONS, KNOWN_NAMES, LABEL_TABLES, canonical_name, ordered_names

FOLDERS: Final = "folders"
"""The value of ``data.classes`` that uses the folder names as class names."""

ClassesSetting = Mapping[int | str, str] | str | None
"""Values of ``data.classes``: null, a name in :data:`fer.labels.LABEL_TABLES`, :data:`FOLDERS`, or a mapping
from folder names to class names."""


@dataclass(frozen=True)
class ClassScheme:
    """The classes of a data set, and the folders that hold them.

    Attributes:
        names: Names of the classes in the order of their labels.
        keys: Label of each folder, by its normalised name.
        skipped: Entry of ``data.skip_classes`` that leaves a folder out, by the folder's normalised name.
        form: Normalises a name, so that names can be compared.
    """

    names: tuple[str, ...]
    keys: Mapping[str, int]
    skipped: Mapping[str, str]
    form: Callable[[str], str] = canonical_name

    def label_of(self, folder: str) -> int | None:
        """Return the label of a folder's class; None if it belongs to no class."""
        return self.keys.get(self.form(folder))

    def skipped_by(self, folder: str) -> str | None:
        """Return the entry of ``data.skip_classes`` that leaves a folder out; None if it is used."""
        return self.skipped.get(self.form(folder))


def make_scheme(
    classes: ClassesSetting, skip: Sequence[str | int] = (), folders: Sequence[str] = ()
) -> ClassScheme:
    """Return the class scheme of a value of ``data.classes``.

    Args:
        classes: See :data:`ClassesSetting`; None: the seven expressions.
        skip: Names of folders or classes to leave out.
        folders: Folder names, used only with :data:`FOLDERS`; sorted, numerically if all are numbers.

    Raises:
        InputError: There is no such table, or fewer than 2 classes are left.
    """
    if classes is None:
        scheme = _scheme_of({name: name for name in EXPRESSIONS}, skip)
    elif classes == FOLDERS:
        are_numbers = all(name.isdecimal() for name in folders)
        names = sorted(folders, key=int) if are_numbers else sorted(folders)
        # No aliases: folders "joy" and "happy" are two classes.
        scheme = _scheme_of({name: name for name in names}, skip, form=str.casefold)
    elif not isinstance(classes, str):
        scheme = _scheme_of(classes, skip)
    elif classes in LABEL_TABLES:
        scheme = _scheme_of(LABEL_TABLES[classes], skip)
    else:
        hint = did_you_mean(classes, [*LABEL_TABLES, FOLDERS])
        msg = f"data.classes is {classes!r}: no such table; {hint}it must be {CHOICES}"
        raise InputError(msg)
    if len(scheme.names) < 2:
        found = ", ".join(scheme.names) or "none"
        msg = f"data.classes: a classifier needs 2 classes or more, and there are: {found}"
        raise InputError(msg)
    return scheme


def _scheme_of(
    classes: Mapping[int, str] | Mapping[str, str] | Mapping[int | str, str],
    skip: Iterable[str | int],
    form: Callable[[str], str] = canonical_name,
) -> ClassScheme:
    """Return the scheme of a mapping from folder names to class names.

    Folders may also have the names of the classes. A class whose folders are all skipped is dropped.
    """
    entries = {form(str(entry)): str(entry) for entry in skip}
    skipped, kept = dict(entries), {}
    for key, name in classes.items():
        folder = form(str(key))
        if (entry := entries.get(folder, entries.get(form(name)))) is not None:
            skipped[folder] = entry
        else:
            kept[folder] = name
    spelling: dict[str, str] = {}
    for name in kept.values():  # two spellings of one class are one class
        spelling.setdefault(form(name), name)
    names = ordered_names(spelling.values()) if form is canonical_name else tuple(spelling.values())
    labels = {form(name): label for label, name in enumerate(names)}
    return ClassScheme(names, labels | {key: labels[form(name)] for key, name in kept.items()}, skipped, form)


CHOICES: Final = (
    f"the name of a table ({', '.join(LABEL_TABLES)}), a mapping such as '{{1: surprise, 2: fear}}', or "
    f"{FOLDERS} (the names of the folders as they are)"
)


def label_folders(folder: Path, names: Sequence[str], scheme: ClassScheme) -> dict[str, int]:
    """Return the label of each folder that is not skipped.

    Args:
        folder: Folder that holds the class folders.
        names: Names of its subfolders.
        scheme: The classes.

    Raises:
        InputError: A folder, or every folder, belongs to no class; the message says how to name or skip it.
    """
    kept = sorted(name for name in names if scheme.skipped_by(name) is None)
    labels = {name: label for name in kept if (label := scheme.label_of(name)) is not None}
    unknown = [name for name in kept if name not in labels]
    if kept and unknown == kept:
        raise InputError(_nothing_known(folder, kept, scheme))
    if not kept:
        msg = f"{folder} has no folders of classes; {WAY_OUT}"
        raise InputError(msg)
    if unknown:
        raise InputError(_one_unknown(folder / unknown[0], scheme))
    return labels


WAY_OUT: Final = "give the folder with --data.root or the environment's FER_DATA_DIR"


def _nothing_known(folder: Path, names: Sequence[str], scheme: ClassScheme) -> str:
    """Return the message for a folder without any known class folder."""
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    if all(name.isdecimal() for name in names):
        return (
            f"{folder} has folders named by numbers ({shown}), whose meaning differs between data sets: "
            f"set --data.classes to {CHOICES}"
        )
    wanted = ", ".join(scheme.names)
    return (
        f"{folder} has no folders named after the expressions or classes ({wanted}), only {shown}: set "
        f"--data.classes to {CHOICES}; or, if another folder was meant, set --data.root"
    )


def _one_unknown(path: Path, scheme: ClassScheme) -> str:
    """Return the message for one unknown folder among class folders."""
    name = path.name
    hint = did_you_mean(scheme.form(name), scheme.keys)
    way = f"rename it, or leave it out with --data.skip_classes '[{name}]'"
    if canonical_name(name) in KNOWN_NAMES:
        way += "; --data.classes affectnet has eight classes, contempt among them"
    return f"{path} is none of the classes ({', '.join(scheme.names)}); {hint}{way}"
