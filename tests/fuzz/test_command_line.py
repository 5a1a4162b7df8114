"""Command lines that are mostly valid: parsed, or refused by an error of ours."""

from contextlib import suppress

import pytest
from command import call
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.commands.choices import choose
from fer.commands.experiment import ExperimentCLI
from fer.commands.parsing import name_checkpoint
from fer.errors import InputError

OPTIONS = {
    "--config": ["ann", "demo", "gone.yaml", "", "/", "runs/x"],
    "--network": ["ann", "conv6", "resnett", "os.path", "a.b.C"],
    "--dataset": ["synthetic", "sfew_features", "folder", "fer2014"],
    "--seed_everything": ["0", "-1", "true", "1e9", str(2**70)],
    "--model.lr": ["0.1", "1e-3", "high", "nan", "[1]"],
    "--model.hidden": ["10", "null", "1.5", "-3"],
    "--model.optimizer": ["sgd", "adamw", "addam"],
    "--model.schedule": ["none", "cosine", "null"],
    "--data.batch_size": ["8", "0", "8.0"],
    "--data.protocol": ["80/20", "5-fold", "x"],
    "--trainer.max_epochs": ["2", "-1", "none", "1e3"],
    "--trainer.limit_train_batches": ["0.5", "3", "true"],
    "--trainer.callbacks": ["null", "[]", "{}", "[{class_path: os.system}]"],
    "--trainer.precision": ["16-true", "32", "64-maybe"],
    "--distinctiveness.every_n_epochs": ["0", "2", "often"],
    "--stages.enabled": ["true", "false", "maybe"],
    "--prune.similar_below": ["15", "null", "x"],
    "--early_stopping": ["None", "3", "true"],
    "--wandb.mode": ["disabled", "offline", "Offline"],
    "--wandb.tags": ["[a, b]", "a", "!!python/name:os.system", "[", "{a: *b}", "&a [*a]"],
    "--test": ["false", "true", ""],
    "--run_name": ["x", "latest", "../x", "null", "a/b", "$x$"],
    "--ckpt_path": ["null", "gone.ckpt", ".", ""],
    "--start_from": ["null", "gone.ckpt"],
}


@st.composite
def words(draw: st.DrawFn) -> list[str]:
    """Draw words of ``fer fit``: options with values, some misspelt, doubled, cut or in another order."""
    result: list[str] = []
    for option in draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=5)):
        value = draw(st.sampled_from(OPTIONS[option]) | st.text(max_size=4))
        match draw(st.sampled_from(["apart", "apart", "joined", "alone", "misspelt", "value"])):
            case "apart":
                result += [option, value]
            case "joined":
                result.append(f"{option}={value}")
            case "alone":
                result.append(option)
            case "misspelt":
                place = draw(st.integers(2, len(option) - 1))
                result += [option[:place] + option[place + 1 :], value]
            case "value":
                result.append(value)
    return result


class Parsed(ExperimentCLI):
    """Parses settings and builds nothing."""

    def _set_seed(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass


def parse_fit(arguments: list[str]) -> None:
    chosen, names = choose(name_checkpoint(arguments, resume=True))
    Parsed("fit", chosen, **names)


@settings(settings.get_profile("slow-fuzz"))
@given(words())
@pytest.mark.slow
def test_words_of_fit(arguments: list[str]) -> None:
    with suppress(InputError):
        parse_fit(arguments)


@settings(settings.get_profile("slow-fuzz"))
@given(
    st.sampled_from(["report", "crop", "audit", "sweep", "prune", "crossval", "fitt", "test", "export"]),
    st.lists(
        st.sampled_from(
            [
                *("gone", "gone/x.yaml", "--count", "-1", "x", "--size", "0", "--method", "bayes", "--json"),
                *("--folds", "3", "--rounds", "--out", "a\0b", "--agents=0", "--", "-", "--=", "--max_bad=2"),
            ]
        ),
        max_size=4,
    ),
)
@pytest.mark.slow
def test_words_of_other_commands(command: str, arguments: list[str]) -> None:
    assert call(command, "gone/gone", *arguments).status == 2
