"""Options of commands on one run, besides those of the network, the data and the trainer."""

from collections.abc import Mapping
from typing import Final, Literal

from jsonargparse._typehints import ActionTypeHint
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser

from fer.callbacks import DistinctivenessCallback, GradientCallback, PruneCallback, StageCallback
from fer.callbacks.best import USUAL_MONITOR
from fer.callbacks.finite import MAX_SKIPPED, OnNan
from fer.callbacks.stop import TRY_AGAIN, OnSigterm
from fer.commands.checks import count_classes
from fer.commands.help import arrange
from fer.commands.parsing import takes
from fer.commands.precision import PRECISION
from fer.commands.space import Checkpoints
from fer.dashboards import wandb_logger
from fer.dashboards.artifacts import Artifacts
from fer.data import DATA_MODULES
from fer.tasks import TASKS
from fer.views import Tta

EXAMPLES: Final = {
    "fit": """\
examples:
  fer fit --config conv6 --data.root ~/data/fer2013  train a shipped experiment
  fer fit --config conv6 --model.lr 0.003 --model.optimizer sgd
  fer fit --resume runs/NAME                         continue an interrupted training, in its folder
  fer fit --config conv6 --start_from runs/latest    new training, from the weights of the best checkpoint
  fer fit --config conv6 --print_config              show all settings as YAML, for --config
""",
    "validate": """\
examples:
  fer validate runs/latest
  fer validate runs/NAME/checkpoints/last.ckpt
""",
    "test": """\
examples:
  fer test runs/latest                               the best checkpoint of the newest run, on its own data
  fer test runs/NAME/checkpoints/pruned.ckpt
  fer test runs/NAME --config conv6 --dataset folder --data.root ~/faces    the same network on other data
""",
    "predict": """\
examples:
  fer predict --ckpt_path runs/latest                the test split of the run's own data
  fer predict --ckpt_path runs/latest --trainer.limit_predict_batches 4
  fer predict photo.jpg --ckpt_path runs/latest      the faces of a photo; see fer predict --help
""",
    "prune": """\
Any network, on images without labels (all of its options: fer prune --timm NAME --help)
  --timm NAME                      network of timm, by its name
  --network package.module.Class   network of your own, which returns logits
  --weights FILE                   its weights: state dict (.pth, .bin, .safetensors) or Lightning checkpoint
  --images FOLDER                  images like its inputs, at any depth

examples:
  fer prune runs/latest --target_macs 0.5 --prune.criterion span
                                                     half the multiply-adds (or _params, _latency)
  fer prune runs/NAME                                by the angles of pairs, whatever is left
  fer prune runs/NAME --curve true                   accuracy over the threshold, drawn
  fer prune --timm resnet18 --weights resnet18.pth --images photos
""",
}
"""Examples at the end of each command's help."""

CALLBACKS: Final[dict[type[Callback], str]] = {
    GradientCallback: "gradients",
    DistinctivenessCallback: "distinctiveness",
    StageCallback: "stages",
    PruneCallback: "prune",
}
"""Callbacks whose settings are options, each with the name of its group."""

ONLY_PYTHON: Final = frozenset({"samples", "network", "inputs", "loss", "num_patterns"})
"""Parameters of callbacks for use in Python, which are no options on the command line."""

BATCHES: Final = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"),
    "overfit_batches",
)
"""Trainer settings that are a number of batches or a share of them."""


def add_run_arguments(parser: LightningArgumentParser, names: Mapping[str, str], command: str) -> None:
    """Add the options of a run and of its callbacks, link those of data and network, and order the help.

    Args:
        parser: Parser that has the options of trainer, network and data.
        names: Chosen ``network`` and ``dataset``.
        command: Name of the command.
    """
    for option, known in (("network", TASKS), ("dataset", DATA_MODULES)):
        parser.add_argument(
            f"--{option}",
            type=str,
            default=names[option],
            help=f"{', '.join(known)}, or a class of your own: package.module.Class",
        )
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        default=None,
        help="checkpoint, or the folder of its run, from which a new run continues, with its optimizer and "
        "epoch; --resume continues a run in its own folder"
        if command == "fit"
        else "checkpoint, or the folder of its run"
        + ("" if command == "predict" else f"; also as a positional argument: fer {command} runs/latest"),
    )
    if command == "fit":
        parser.add_argument(
            "--resume",
            type=str | None,
            default=None,
            help="interrupted run to continue in its own folder with its own settings: runs/NAME or "
            "runs/latest; --trainer.max_epochs may be raised",
        )
    parser.add_argument(
        "--start_from",
        type=str | None,
        default=None,
        help="checkpoint of the same network, or the folder of its run, whose weights training starts from; "
        "optimizer and schedule start from the beginning",
    )
    parser.add_argument(
        "--teachers",
        type=list[str] | str | None,
        default=None,
        help="trained networks of the same classes, as checkpoints or folders of their runs, whose mean "
        "probabilities are learned instead of the labels (knowledge distillation)",
    )
    parser.add_argument("--runs_dir", type=str, default="runs", help="folder of all runs")
    parser.add_argument(
        "--run_name",
        type=str | None,
        default=None,
        help="name of the run's folder; null: network, data set and time",
    )
    parser.add_argument(
        "--test",
        type=bool,
        default=True,
        help="test the best checkpoint once after training; sweeps set it to false, since nothing may be "
        "selected on the test split",
    )
    parser.add_argument(
        "--report",
        type=bool,
        default=False,
        help="write report.html into the run's folder at the end, as fer report does",
    )
    parser.add_argument(
        "--tta",
        type=Tta,
        default="flip",
        help="test-time augmentation, reported beside the accuracy of plain images: mean probabilities of "
        "each image and its mirror image (flip), of both and their shifts (ten_crop), or of the image (none)",
    )
    parser.add_argument(
        "--monitor",
        type=str,
        default=USUAL_MONITOR,
        help="metric of the validation split that selects the best checkpoint, such as val/balanced_acc: "
        "the lowest loss, or the highest of any other",
    )
    parser.add_argument(
        "--early_stopping",
        type=int | None,
        default=None,
        help="epochs without a better value of --monitor after which training ends; null: never",
    )
    parser.add_argument(
        "--ema",
        type=bool,
        default=False,
        help="evaluate and keep an exponential moving average of the weights instead of the latest weights",
    )
    parser.add_argument(
        "--checkpoints",
        type=Checkpoints,
        default="all",
        help="which checkpoints are kept: the best, the last and the one before it (all); the best and the "
        "last (last); or only the best (best), and then a training that is stopped restarts from its first "
        "epoch",
    )
    parser.add_argument(
        "--on_nan",
        type=OnNan,
        default="stop",
        help="what to do if the loss of a batch is NaN or infinite: stop the training, or skip the batch; "
        f"training also stops after {MAX_SKIPPED} skipped batches in a row",
    )
    parser.add_argument(
        "--on_sigterm",
        type=OnSigterm | None,
        default=None,
        help="what SIGTERM does: stop ends the training after the current batch and a validation; requeue "
        f"saves within seconds and exits with status {TRY_AGAIN}, and the same command resumes the run; "
        "null: requeue under SLURM, which then starts the job again, else stop",
    )
    parser.add_function_arguments(wandb_logger, "wandb", skip={"run_dir", "stop", "resume", "is_shown"})
    (parser.groups or {})["wandb"].add_argument(
        "--wandb.artifacts",
        type=Artifacts,
        default="best",
        help="files of the run that W&B keeps: networks (best), also angles and crops (all), or none",
    )
    for callback, key in CALLBACKS.items():
        _add_callback(parser, callback, key)
    parser.set_defaults({"prune.enabled": False})
    for setting in ("image_size", "channels"):
        if takes(parser, f"model.{setting}") and takes(parser, f"data.{setting}"):
            parser.link_arguments(f"data.{setting}", f"model.{setting}")
    if takes(parser, "model.in_features"):
        parser.link_arguments("data.num_features", "model.in_features", apply_on="instantiate")
    parser.link_arguments("data", "model.num_classes", compute_fn=count_classes, apply_on="instantiate")
    for action in parser._actions:
        if isinstance(action, ActionTypeHint) and action.dest.removeprefix("trainer.") in BATCHES:
            # "1" means one batch and "1.0" all of them. If another library made a Union[float, int] first,
            # typing reuses its order for Lightning's Union[int, float], and "1" would be read as 1.0.
            action._typehint = int | float | None
        if isinstance(action, ActionTypeHint) and action.dest == PRECISION:
            action._typehint = Literal["auto"] | action._typehint
    needed = {"fit": "", "predict": "--ckpt_path CHECKPOINT|RUN "}.get(command, "CHECKPOINT|RUN ")
    parser.usage = f"fer {command} {needed}[settings]"
    parser.epilog = EXAMPLES.get(command)
    arrange(parser)


def _add_callback(parser: LightningArgumentParser, callback: type[Callback], key: str) -> None:
    """Add the settings of a callback, like ``add_lightning_class_args``, which has no ``skip``."""
    parser.callback_keys.append(key)
    parser.add_class_arguments(callback, key, fail_untyped=False, sub_configs=True, skip=set(ONLY_PYTHON))
