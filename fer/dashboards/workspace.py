"""W&B dashboard of the project: the panels of its workspace and its report."""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from fer.errors import InputError

PARAMETERS: Final = (
    *("model.lr", "model.weight_decay", "model.label_smoothing"),
    *("data.batch_size", "seed_everything"),
)
"""Default settings on the axes of the parallel coordinates; every network has them."""

LOGARITHMIC: Final = ("lr", "weight_decay", "min_lr")
"""Settings with a logarithmic axis, by the last part of their names."""

RESULTS: Final = ("val/acc_best", "test/acc", "test/acc_low", "test/acc_high", "test/n")
"""Results in the table of runs, next to the settings."""

OBJECTIVE: Final = "val/acc_best"
"""Metric that sweeps optimise."""


class Chapter(NamedTuple):
    """A section of the workspace, and of the report.

    Attributes:
        name: Its heading.
        text: Description of the panels, a paragraph of the report.
        panels: The panels, in order.
        is_open: Whether the section is expanded in the workspace.
    """

    name: str
    text: str
    panels: list[Any]
    is_open: bool = False


def chapters(parameters: Sequence[str] = PARAMETERS) -> list[Chapter]:
    """Return all chapters, in the order of the workspace and the report.

    Args:
        parameters: Names of settings on the axes of the parallel coordinates.
    """
    return [
        Chapter(
            "Learning",
            "Accuracy and loss of each run by epoch. The epoch is selected on val.",
            [
                _lines("Accuracy", "train/acc", "val/acc", range_y=(0, 1)),
                _lines("Loss", "train/loss", "val/loss"),
                _lines("Best val accuracy so far", OBJECTIVE, range_y=(0, 1)),
                _lines("Balanced accuracy and F1, val", "val/balanced_acc", "val/f1", range_y=(0, 1)),
                _lines_like("Recall by class, val", r"val/recall/.*", range_y=(0, 1)),
                _lines("Learning rate", "lr"),
            ],
            is_open=True,
        ),
        Chapter(
            "Test",
            "Accuracy of the best checkpoint, tested once, with its Wilson 95 % interval; n is in the table "
            "of runs. If runs are grouped, a bar is the mean over the group, such as seeds or folds.",
            [
                wr.BarPlot(title="Accuracy, test", metrics=["test/acc"], range_x=(0, 1)),
                wr.BarPlot(title="Interval, test", metrics=["test/acc_low", "test/acc_high"], range_x=(0, 1)),
                wr.BarPlot(
                    title="By group: mean and standard deviation",
                    metrics=["test/acc"],
                    groupby="Group",
                    groupby_aggfunc="mean",
                    groupby_rangefunc="stddev",
                    range_x=(0, 1),
                ),
            ],
            is_open=True,
        ),
        Chapter(
            "Confusion",
            "Confusion matrices (rows: true class), and example images with their predictions.",
            [_images("confusion-test"), _images("confusion-val"), _images("predictions")],
            is_open=True,
        ),
        Chapter(
            "Angles and stages",
            "Angles between the hidden neurons of each layer, over time in epochs, and the training stage of "
            "each layer and of the network: 0 initial, 1 intermediate, 2 plateau, 3 solution. Two neurons "
            "are similar below 15 degrees and complementary above 165. The effective rank is the number of "
            "directions in which a layer's activations vary; CKA compares the activations with those of the "
            "previous measurement (1: the same). Dormant neurons are hardly active, cloned neurons have a "
            "near copy, and redundant neurons can be reproduced from the others. Panels of single layers "
            "need runs with --distinctiveness.log all.",
            [
                _lines("Stage of the network", "stage/network", range_y=(0, 3)),
                _lines("Mean angle, mean of the layers, degrees", "angles/mean"),
                _lines("Angular speed, mean of the layers, degrees per epoch", "angles/speed"),
                _lines("Share of similar pairs, mean of the layers", "angles/similar"),
                _lines("Effective rank as a share of the width, mean of the layers", "rank/effective_share"),
                _lines_like("Mean angle, degrees", r"angles/.*/mean"),
                _lines_like("Angular speed, degrees per epoch", r"angles/.*/speed"),
                _lines_like("Stage of each layer", r"stage/[^/]+$", range_y=(0, 3)),
                _lines_like("Share of similar pairs", r"angles/.*/similar"),
                _lines_like("Share of complementary pairs", r"angles/.*/complementary"),
                _lines_like("Share of dead neurons", r"angles/.*/dead"),
                _lines_like("Effective rank", r"rank/.*/effective"),
                _lines_like("CKA with the previous measurement", r"cka/.*", range_y=(0, 1)),
                _lines_like("Share of dormant neurons", r"neurons/.*/dormant", range_y=(0, 1)),
                _lines_like("Share of cloned variance", r"neurons/.*/cloned", range_y=(0, 1)),
                _lines_like("Share of redundant neurons", r"neurons/.*/redundant", range_y=(0, 1)),
                _lines("Loss on the fixed samples", "sample/train_loss", "sample/val_loss"),
                _lines_like("Size of an update relative to the weights", r"update_ratio/.*", log_y=True),
                _images("angles", "angular-speed"),
                _images("angle-matrix", "angle-histogram", "angle-pairs"),
                _images("feature-maps"),
            ],
            is_open=True,
        ),
        Chapter(
            "Neural collapse",
            "How closely the samples of each class gather at one point in the last hidden layer. Under full "
            "collapse, NC1 is 0; NC2, the standard deviation of the angles between class means, is 0; and "
            "NC4, the share of predictions that agree with the nearest class mean, is 1.",
            [
                _lines("NC1, variation within relative to between classes", "collapse/nc1", log_y=True),
                _lines("NC2, spread of the angles between class means, degrees", "collapse/nc2_spread"),
                _lines("NC4, agreement with the nearest class mean", "collapse/nc4", range_y=(0, 1)),
                _images("collapse"),
            ],
        ),
        Chapter(
            "Pruning",
            "The network before and after pruning, evaluated on val.",
            [
                wr.BarPlot(
                    title="Accuracy, val", metrics=["prune/acc_before", "prune/acc_after"], range_x=(0, 1)
                ),
                wr.BarPlot(title="Parameters", metrics=["prune/parameters_before", "prune/parameters_after"]),
                wr.BarPlot(title="Multiply-adds", metrics=["prune/macs_before", "prune/macs_after"]),
                wr.BarPlot(title="Neurons", metrics=["prune/neurons_before", "prune/neurons_after"]),
                wr.ScatterPlot(
                    title="Accuracy against compression",
                    x=wr.SummaryMetric("prune/compression"),
                    y=wr.SummaryMetric("prune/acc_after"),
                ),
                _images("prune"),
            ],
        ),
        Chapter(
            "Sweep",
            f"The {OBJECTIVE} of each combination of settings, and the importance of each setting.",
            [
                wr.ParallelCoordinatesPlot(
                    title="Settings and accuracy",
                    columns=[
                        *map(_setting, parameters),
                        wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(OBJECTIVE)),
                    ],
                    layout=wr.Layout(w=24, h=9),
                ),
                wr.ParameterImportancePlot(with_respect_to=OBJECTIVE),
                wr.ScatterPlot(
                    title="Trials by start time",
                    x=wr.Metric("CreatedTimestamp"),
                    y=wr.SummaryMetric(OBJECTIVE),
                    running_ymax=True,
                ),
                wr.RunComparer(diff_only=True),
            ],
        ),
        Chapter(
            "Gradients",
            "Norm of each layer's gradient at the first step of an epoch.",
            [
                _lines_like("Gradient norms", r"gradients/.*", log_y=True),
                _images("gradient-norms", "gradient-histograms"),
            ],
        ),
        Chapter(
            "System",
            "Use of the machine, over the seconds since the start of the run.",
            [
                _over_time("GPU, %", "system/gpu.0.gpu"),
                _over_time("GPU memory, %", "system/gpu.0.memoryAllocated"),
                _over_time("CPU, %", "system/cpu"),
                _over_time("Memory of the process, MB", "system/proc.memory.rssMB"),
                _over_time("Memory of the machine, %", "system/memory_percent"),
                _over_time("Disk, %", "system/disk./.usagePercent"),
            ],
        ),
    ]


def workspace(project: str, entity: str, parameters: Sequence[str] = PARAMETERS) -> ws.Workspace:
    """Return the project's workspace; its ``save`` needs an account."""
    return ws.Workspace(
        name="fer",
        entity=entity,
        project=project,
        sections=[ws.Section(name=c.name, panels=c.panels, is_open=c.is_open) for c in chapters(parameters)],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=20),
        runset_settings=ws.RunsetSettings(
            pinned_columns=[
                *("run:displayName", "run:group", "run:jobType"),
                *("config:network.value", "config:dataset.value"),
                *(f"summary:{name}" for name in RESULTS),
            ]
        ),
        auto_generate_panels=False,
    )


def report(project: str, entity: str, parameters: Sequence[str] = PARAMETERS) -> wr.Report:
    """Return the project's report, with the chapters of the workspace; its ``save`` needs an account."""
    blocks: list[Any] = [wr.TableOfContents()]
    for chapter in chapters(parameters):
        # A run set without a project means the report's own project, which needs no look-up.
        grid = wr.PanelGrid(runsets=[wr.Runset(name="all runs")], panels=chapter.panels)
        blocks += [wr.H1(chapter.name), wr.P(chapter.text), grid]
    return wr.Report(
        project=project,
        entity=entity,
        title="Hidden neurons: training, angles and pruning",
        description="Made by fer dashboard.",
        blocks=blocks,
        width="fluid",
    )


def save(project: str, entity: str | None, parameters: Sequence[str] = PARAMETERS) -> tuple[str, str]:
    """Create a new workspace and report on W&B's server, and return their addresses.

    Args:
        project: W&B project; created if it does not exist.
        entity: W&B user or team; None: the default of the account.
        parameters: Names of settings on the axes of the parallel coordinates.

    Raises:
        InputError: The server refuses.
    """
    try:
        owner = entity or wandb.Api().default_entity or ""
        page = report(project, owner, parameters).save()
        view = workspace(project, owner, parameters).save()  # type: ignore[no-untyped-call]
    except (wandb.Error, WandbApiFailedError, ValueError) as e:
        msg = f"W&B refuses the dashboard of {project}: {e}; check --project, --entity and `wandb login`"
        raise InputError(msg) from e
    return view.url, page.url


def as_json(project: str, entity: str, parameters: Sequence[str] = PARAMETERS) -> str:
    """Return workspace and report as JSON, in W&B's format."""
    models = {
        "workspace": workspace(project, entity, parameters)._to_model(),
        "report": report(project, entity, parameters)._to_model(),  # type: ignore[no-untyped-call]
    }
    found = {
        name: json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
        for name, model in models.items()
    }
    return json.dumps(found, indent=1)


class _Setting(wr.ParallelCoordinatesPlotColumn):
    """A column for a setting whose name has dots, which the library would read as a path."""

    def _to_model(self) -> Any:
        model = super()._to_model()  # type: ignore[no-untyped-call]
        model.accessor = f"config:{self.display_name}.value"
        return model


def _setting(name: str) -> _Setting:
    is_log = name.split(".")[-1] in LOGARITHMIC
    return _Setting(wr.Config(name), display_name=name, log=is_log or None)


def _lines(title: str, *metrics: str, **settings: Any) -> wr.LinePlot:
    return wr.LinePlot(title=title, x="epoch", y=list(metrics), title_x="epoch", **settings)


def _lines_like(title: str, sample: str, **settings: Any) -> wr.LinePlot:
    """Return a plot of all metrics that match a regular expression, since layers depend on the network."""
    return wr.LinePlot(title=title, x="epoch", metric_regex=sample, title_x="epoch", **settings)


def _over_time(title: str, metric: str) -> wr.LinePlot:
    return wr.LinePlot(title=title, x="RelativeTime(Process)", y=[metric], title_x="seconds")


def _images(*names: str) -> wr.MediaBrowser:
    return wr.MediaBrowser(
        title=", ".join(names), media_keys=[f"figures/{name}" for name in names], num_columns=2
    )
