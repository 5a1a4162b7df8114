"""Format help texts: no markup, the project's own settings first, examples at the end."""

import re
import textwrap
import types
from argparse import SUPPRESS, Action
from collections.abc import Sequence
from typing import Any, Final, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser, DefaultHelpFormatter
from jsonargparse._typehints import ActionTypeHint

from fer.commands.help_texts import HELPS, TRAINER
from fer.configs import config_label

TITLES: Final = {
    "": "run",
    "model": "network and training",
    "data": "data",
    "distinctiveness": "angles between neurons",
    "stages": "training stages",
    "gradients": "gradients",
    "prune": "pruning",
    "wandb": "Weights & Biases",
    "trainer": "trainer (Lightning)",
}
"""Titles of the groups of options, in the order of the help; other groups come before the trainer's."""


SHOWN: Final = {
    "prune": ("prune", "data"),
    **dict.fromkeys(("validate", "test", "predict"), ("data",)),
}
"""Groups that the help of a command on a run shows after the first one, in order; others show all."""

OF_TRAINING: Final = (
    *("start_from", "teachers", "test", "report", "monitor", "early_stopping", "ema", "checkpoints"),
    *("on_nan", "on_sigterm"),
)
"""Options of the first group that only training uses; such a help does not show them."""

MORE: Final = """\
All other settings (--model.…, --trainer.…, --wandb.… and so on) come from the run; fer fit --help lists them.

"""
"""Text before the examples of such a help."""

TYPES: Final = {"seed_everything": int}
"""Types that replace those of the signature, by option."""

IN_VAIN: Final = {
    "prune": ("prune.enabled",),
    # The audit compares images as they are, without batches.
    "audit": (
        *("data.augment", "data.augment_strength", "data.pipeline", "data.normalise"),
        *("data.batch_size", "data.num_workers", "data.sampler"),
    ),
}
"""Options of a command's groups that have no effect in it, by command; its help does not show them."""


PLAIN: Final = r"\{[^}]*\}|bool|bool or null|str( or null)?"
"""Types that need no words: the choices stand after the option, and text is the usual value."""


class HelpFormatter(DefaultHelpFormatter):
    """Formats help without markup, and without types where the choices are shown."""

    def _expand_help(self, action: Action) -> str:
        text = plain_text(super()._expand_help(action))
        text = re.sub(r", known subclasses: [^)]*", "", text)
        text = re.sub(rf"type: ({PLAIN})(, (?=default:)|(?=\)$))", "", text)
        text = _with_default_as_yaml(_with_one_default(text))
        return re.sub(r" ?\((required, )?\)$", "", text)

    def _get_type_str(self, action: Action) -> str | None:
        if action.dest in TRAINER:
            return None  # unions of Lightning's classes, which the texts say in words
        if isinstance(action, ActionTypeHint):
            return type_words(TYPES.get(action.dest, action._typehint))
        return super()._get_type_str(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(("examples:", MORE)):
            return textwrap.indent(text, indent)
        return super()._fill_text(plain_text(text), width, indent)


def type_words(hint: Any) -> str:
    """Return a type as a person reads it.

    >>> [type_words(each) for each in (int, float | None, int | str)]
    ['int', 'float or null', 'int or str']
    >>> type_words(Literal["stop", "requeue"] | None), type_words(list[str] | str | None)
    ('{stop,requeue} or null', 'list of str, str or null')
    >>> type_words(tuple[int, ...]), type_words(dict[str, int])
    ('list of int', 'mapping of str to int')
    """
    origin, parts = get_origin(hint), get_args(hint)
    if hint in (None, type(None)):
        return "null"
    if origin is Literal:
        return "{" + ",".join(map(str, parts)) + "}"
    if origin in (Union, types.UnionType):
        words = list(dict.fromkeys(map(type_words, sorted(parts, key=lambda part: part is type(None)))))
        return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    name = getattr(origin or hint, "__name__", str(hint))
    kinds = [type_words(part) for part in parts if part is not ...]
    if name in ("dict", "Mapping"):
        return f"mapping of {' to '.join(kinds)}"
    if name in ("list", "tuple", "Sequence", "Iterable", "set"):
        return f"list of {', '.join(kinds)}"
    return {"Path": "path"}.get(name, name)


def _with_default_as_yaml(text: str) -> str:
    """Show the default at the end of a help text as YAML has it.

    >>> _with_default_as_yaml("Use it. (default: True)"), _with_default_as_yaml("Sizes. (default: (16, 32))")
    ('Use it. (default: true)', 'Sizes. (default: [16, 32])')
    """
    text = re.sub(r"default: \(([^()]*?),?\)\)$", r"default: [\1])", text)
    return re.sub(r"default: (True|False)\)$", lambda match: match[0].lower(), text)


def _with_one_default(text: str) -> str:
    """Leave the default that counts, in brackets at the end, and that of the docstring only for null.

    >>> _with_one_default("Steps. Default: 50. (type: int, default: 1)")
    'Steps. (type: int, default: 1)'
    >>> _with_one_default("Batches. Default: 2. (type: int | null, default: null)")
    'Batches. null: 2. (type: int | null, default: null)'
    """
    is_null = text.endswith("default: null)")

    def replace(match: re.Match[str]) -> str:
        return f" null: {match[1]}." if is_null and match[1] != "None" else ""

    return re.sub(r"\s+Default: (\S+)\.(?=\s)", replace, text)


def plain_text(text: str) -> str:
    """Return text of a docstring without its markup.

    >>> plain_text("``mse`` of :class:`fer.x.Conv6Net` or `timm <https://x.org>`_; see :data:`fer.RULES`.")
    'mse of Conv6Net or timm.'
    """
    text = re.sub(r"[;,] see\s+:\w+:`[^`]*`", "", text)
    text = re.sub(r":\w+:`~?([^`]*)`", lambda match: match[1].rpartition(".")[2], text)
    text = re.sub(r"`([^`<]*?) ?<[^>]*>`__?", r"\1", text)
    return text.replace("``", "").replace("`", "")


def arrange(parser: ArgumentParser) -> None:
    """Order a parser's groups of options, give them titles, and hide options that only confuse.

    Args:
        parser: The parser, with all its options.
    """
    groups = parser.groups or {}
    names = {id(group): name for name, group in groups.items()}
    order = [*TITLES]

    def place(group: object) -> int:
        if group in (parser._positionals, parser._optionals):
            return 0
        name = names.get(id(group))
        return order.index(name) if name in order else len(order) - 2

    for name, group in groups.items():
        group.title = TITLES.get(name, group.title)
    parser._optionals.title = TITLES[""]
    shown = [group for group in parser._action_groups if group.title != "Linked arguments"]
    parser._action_groups = sorted(shown, key=place)
    for action in parser._actions:
        if action.dest.endswith(".help"):  # --model.logger.help lists classes
            action.help = SUPPRESS


def prepare_help(parser: ArgumentParser, configs: Sequence[str], shown: Sequence[str] | None = None) -> None:
    """Prepare a parser to print its help: the values of configs, and only what the command needs.

    It must not parse settings afterwards: jsonargparse leaves hidden options out of saved configs.

    Args:
        parser: The parser.
        configs: Paths of configs whose values are shown as defaults.
        shown: Groups of options to show, in order, after the first one; None: all.
    """
    parser.default_config_files = [*configs]
    groups = [*parser._action_groups][min(1, len(configs)) :]  # without the one that lists paths of configs
    if configs:
        names = " and ".join(map(config_label, configs))
        parser.description = f"{parser.description} Defaults are those of the config {names}."
    # --model and the like would take a file of settings for their group.
    hidden = {*(parser.groups or {}), *IN_VAIN.get(parser.prog.rpartition(" ")[2], ())}
    if "trainer" in (parser.groups or {}):
        hidden |= _shorten_trainer(parser)
    for action in parser._actions:
        is_hidden = action.dest in hidden or action.help == SUPPRESS
        action.help = SUPPRESS if is_hidden else HELPS.get(action.dest, action.help)
    if shown is not None:
        kept = [parser._positionals, parser._optionals, *((parser.groups or {})[name] for name in shown)]
        for group in groups:
            if group not in kept:
                group.description = None
            for action in group._group_actions:
                if group not in kept or action.dest in OF_TRAINING:
                    action.help = SUPPRESS
        groups.sort(key=lambda group: kept.index(group) if group in kept else len(kept))
        parser.epilog = MORE + (parser.epilog or "")
    parser._action_groups = groups


def _shorten_trainer(parser: ArgumentParser) -> set[str]:
    """Name the trainer's rare options in one paragraph, and return them: their help is Lightning's own."""
    group = (parser.groups or {})["trainer"]
    rare = [action.dest for action in group._group_actions if action.dest.startswith("trainer.")]
    rare = [name for name in rare if name not in TRAINER and not name.endswith(".help")]
    names = ", ".join(name.removeprefix("trainer.") for name in rare)
    group.description = f"Also, as in Lightning's documentation of Trainer: {names}."
    return {*rare}
