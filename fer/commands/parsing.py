"""Parse command lines: parsers with readable help, renamed options, errors that suggest a fix."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse._typehints import ActionTypeHint
from rich.console import Console

from fer.commands.help import TYPES, HelpFormatter, prepare_help
from fer.commands.kinds import kinds_in, value_kinds
from fer.commands.renamed import rename_settings, rename_words
from fer.commands.suggest import suggest_options
from fer.configs import config_label
from fer.errors import InputError
from fer.files import read_text
from fer.lookup import find_checkpoint
from fer.views import Tta
from fer.yamltext import parse_yaml

if TYPE_CHECKING:
    from fer.predict import Recognizer

CONSOLE: Final = Console(highlight=False, soft_wrap=True)

SWEEP_HINT: Final = "in the command of a sweep, use ${args_json_file}"
"""How a sweep file passes null and true, where ``${args}`` passes None and an option without a value."""

WITHOUT_VALUE: Final = ("-h", "--help", "--print_config", "--debug", "--whole", "--retry_failed")
"""Options that are not followed by a value."""


def make_parser(prog: str, description: str, **kwargs: Any) -> ArgumentParser:
    """Return a parser that raises errors instead of exiting, and whose help has no markup."""
    return ArgumentParser(
        prog=prog,
        description=description,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
        **kwargs,
    )


def add_recognizer_options(parser: ArgumentParser, kinds: str, *, whole: str) -> None:
    """Add the options that choose a network for images; see :func:`load_recognizer`.

    Args:
        parser: Parser to add them to.
        kinds: Kinds of files that ``--ckpt_path`` may be, for its help.
        whole: What ``--whole`` takes as one face's crop, for its help.
    """
    parser.add_argument(
        "--ckpt_path",
        type=Path | None,
        default=None,
        help=f"{kinds}; null: the network that ships with fer",
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help=f"use {whole} as the crop of one face, without face detection",
    )
    parser.add_argument(
        "--network",
        type=str | None,
        default=None,
        help="class of your own network, package.module.Class",
    )


def load_recognizer(given: Namespace, tta: Tta = "flip") -> "Recognizer":
    """Return the recognizer that the options of :func:`add_recognizer_options` choose.

    Raises:
        InputError: There is no such file, it holds no network for images, or the class is unknown.
    """
    from fer.predict import Recognizer  # not above: most commands do not need it

    network = None
    if given.network is not None:
        from fer.commands.choices import find_task  # not above: Lightning is slow to import

        network = find_task(given.network).network_class
    return Recognizer.load(given.ckpt_path, whole=given.whole, tta=tta, network=network)


def parse(parser: ArgumentParser, words: Sequence[str], shown: Sequence[str] | None = None) -> Namespace:
    """Parse the arguments after a command.

    The old names of renamed options are accepted, too, both in the arguments and in configs. The help shows
    the values of the configs that the arguments name.

    Args:
        parser: The parser.
        words: The arguments.
        shown: Groups of options that the help shows; see :func:`fer.commands.help.prepare_help`.

    Raises:
        InputError: An option or a value is invalid; the message suggests what was meant.
    """
    options = [action.dest for action in parser._actions]
    renamed = rename_words(words, options)
    for place, (flag, value) in enumerate(pairwise(renamed), start=1):
        if flag in ("-c", "--config"):
            renamed[place] = _rename_config(value, options)
    if {"-h", "--help"} & {*words}:
        configs = [value for flag, value in pairwise(renamed) if flag in ("-c", "--config")]
        prepare_help(parser, [config for config in configs if "\n" not in config], shown)  # files, not YAML
    try:
        return parser.parse_args(renamed)
    except ArgumentError as e:
        raise InputError(explain(str(e), parser, renamed)) from e


def _rename_config(config: str, options: Sequence[str]) -> str:
    """Return a config unchanged, or its content as YAML with the new names if it uses old ones."""
    content = parse_config(config)
    renamed = rename_settings(content, options)
    return config if renamed == content else yaml.safe_dump(renamed)


def parse_config(config: str) -> dict[str, Any]:
    """Return the settings in a value of ``--config``, a file or YAML text; empty if it has none.

    Raises:
        InputError: It is not YAML, or too large.

    >>> parse_config("gone.yaml")
    {}
    """
    try:
        content = parse_yaml(config if "\n" in config else read_text(Path(config)))
    except OSError:
        return {}  # the parser reports what is wrong
    except ValueError as e:
        name = "the text" if "\n" in config else config
        msg = f"--config {name}: it cannot be read as YAML: {e}"
        raise InputError(msg) from e
    return content if isinstance(content, dict) else {}


def shorten(problem: str, hints: Mapping[str, Any] | None = None) -> str:
    """Shorten jsonargparse's error about a value to one sentence.

    Args:
        problem: The error.
        hints: Types of options by name; the types of others are read from the error.

    >>> shorten("Parser key 'model.lr': Expected a <class 'float'>. Got value: high")
    'model.lr is high: it must be a number'
    >>> kinds = "Subtypes: [<class 'bool'>, typing.Literal['a'], <class 'NoneType'>] Errors: …"
    >>> shorten(f"Parser key 'x': Does not validate against any of the subtypes {kinds} Given value: 5")
    'x is 5: it must be true, false, a or null'
    >>> shorten("Parser key 'x': Expected a <class 'str'>. Got value: None")
    'x is None: it must be text (write x=null; in the command of a sweep, use ${args_json_file})'
    >>> shorten("Parser key 'x': Expected a <class 'int'>. Got value: a", {"x": list[int]})
    'x is a: it must be a list of whole numbers'
    """
    problem = " ".join(problem.split())
    patterns = (
        r".*?Subtypes: \[(?P<kinds>.*)\] Errors: .*Given value: (?P<value>.*)",
        r"Expected a (?P<kinds>.*?)\. Got value: (?P<value>.*)",
    )
    matches = (
        re.fullmatch(rf"""Parser key ["'](?P<key>[^"']+)["']: {pattern}""", problem) for pattern in patterns
    )
    match = next(filter(None, matches), None)
    if match is None:
        return problem
    key, value = match["key"], match["value"]
    if nested := re.fullmatch(r"NestedArg\(key='(.*)', val='?(.*?)'?\)", value):
        key, value = f"{key}.{nested[1]}", nested[2]
    value = re.sub(r"^Namespace\((.*)\)$", r"\1", value)
    kinds = value_kinds(hints[key]) if hints and key in hints else kinds_in(match["kinds"])
    hint = f" (write {key}=null; {SWEEP_HINT})" if value == "None" else ""
    return f"{key} is {value}: it must be {kinds}{hint}"


def _help_for(parser: ArgumentParser, words: Sequence[str]) -> str:
    """Return the command that shows the options of the network, the data and the configs in the arguments."""
    chosen = [
        (flag, config_label(value))
        for flag, value in pairwise(words)
        if flag in ("--config", "--network", "--dataset") and "\n" not in value and takes(parser, flag[2:])
    ]
    shown = [] if chosen == [("--config", "demo")] else chosen  # which is shown without it, too
    return " ".join([parser.prog, *(word for pair in shown for word in pair), "--help"])


def explain(problem: str, parser: ArgumentParser, words: Sequence[str] = ()) -> str:
    """Return a parser's error, shortened, with the options that may have been meant and the help to read."""
    all_settings = f"all settings: {_help_for(parser, words)}"
    if bare := re.search(r"argument (?:\S+/)*--([\w.-]+): expected one argument", problem):
        value = "true" if _hints(parser).get(bare[1]) is bool else "VALUE"
        hint = f"; {SWEEP_HINT}" if value == "true" else ""
        return f"--{bare[1]} needs a value: write --{bare[1]}={value}{hint}; {all_settings}"
    unknown = re.search(r"(?i)unrecognized arguments: --?([\w.-]+)", problem)
    in_config = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", problem)
    in_config = in_config or re.search(r"(Key|Option) '([\w.]+)' is not expected", problem)
    groups = (
        () if in_config is None else (each for each in in_config.groups() if each not in ("Key", "Option"))
    )
    name = unknown.group(1) if unknown else ".".join(groups)
    options = [action.dest for action in parser._actions if action.dest not in (parser.groups or {})]
    near = [option for option in suggest_options(name, options) if option != name] if name else []
    dashes = "--" if unknown else ""  # in a config, it is a key
    hint = f"did you mean {' or '.join(f'{dashes}{option}' for option in near)}? " if near else ""
    return f"{shorten(problem, _hints(parser))}; {hint}{all_settings}"


def _hints(parser: ArgumentParser) -> dict[str, Any]:
    """Return the types of options, by name."""
    found = {each.dest: each._typehint for each in parser._actions if isinstance(each, ActionTypeHint)}
    return found | TYPES


def takes(parser: ArgumentParser, key: str) -> bool:
    """Return whether the parser has an option."""
    return any(action.dest == key for action in parser._actions)


def positional(words: Sequence[str]) -> list[int]:
    """Return the indices of positional arguments: words that are neither options nor their values.

    >>> positional(["--curve", "true", "best.ckpt", "--model.lr=1"])
    [2]
    """
    return [
        place
        for place, (before, word) in enumerate(pairwise(["", *words]))
        if not word.startswith("-")
        and (not before.startswith("-") or "=" in before or before in WITHOUT_VALUE)
    ]


def name_checkpoint(words: Sequence[str], *, resume: bool = False) -> list[str]:
    """Put ``--ckpt_path`` before a positional checkpoint, and replace runs by their checkpoints.

    Args:
        words: The arguments after the command.
        resume: Whether training resumes from ``--ckpt_path``: then a run is replaced by its last checkpoint,
            not its best.

    Raises:
        InputError: There is no such checkpoint, or there are several positional arguments.
    """
    named = list(words)
    places = positional(words)
    if len(places) > 1:
        msg = f"{words[places[1]]}: give one checkpoint; options begin with --"
        raise InputError(msg)
    if places:
        named.insert(places[0], "--ckpt_path")
    for place, word in enumerate(named):
        flag, equals, value = word.partition("=")
        if flag not in ("--ckpt_path", "--start_from"):
            continue
        if not equals and place + 1 < len(named):
            named[place + 1] = _find(named[place + 1], resume=resume and flag == "--ckpt_path")
        elif equals:
            named[place] = f"{flag}={_find(value, resume=resume and flag == '--ckpt_path')}"
    return named


def _find(path: str, *, resume: bool) -> str:
    return path if path in ("null", "None") else str(find_checkpoint(Path(path), resume=resume))


def summary(function: Callable[..., None]) -> str:
    """Return the docstring of a function up to its arguments."""
    return (function.__doc__ or "").split("\n\n    Args:")[0]
