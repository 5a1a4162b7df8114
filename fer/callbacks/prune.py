"""Prune the best checkpoint when training ends."""

import logging
import math
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from rich.console import Console
from torch import Tensor

from fer.callbacks.media import is_dry_run, missing_figures, run_of_trainer, save_figure
from fer.callbacks.network import FoundNetwork, find_network, is_sharded
from fer.callbacks.samples import Samples, aside, first_loader
from fer.callbacks.stop import is_stopped
from fer.callbacks.training_samples import training_samples
from fer.callbacks.validation import fresh_val_loaders, from_first, has_val_loaders, validate
from fer.errors import InputError, did_you_mean
from fer.figures.style import drawing
from fer.neurons import eval_state
from fer.neurons.inputs import Inputs, InputsOf, call, inputs_of
from fer.neurons.networks import FOREIGN_ERRORS, copy_network, one_line
from fer.pruning import PruneResults, PruneSettings, Pruning, compare, prune_to, save_pruning
from fer.pruning.compared import WHOLE, networks_to_compare
from fer.pruning.limits import find_target, limit_of
from fer.pruning.load import load_state, rebuild, replace_network, uncompile
from fer.pruning.save import draw_pruning

log = logging.getLogger("fer.callbacks")


class PruneCallback(Callback):
    """Prune the network when training ends, and report what it costs.

    Takes the best checkpoint, or the last weights if there is none, and works on a copy: the trained module
    stays as it is. The network before and after is validated by the module's own ``validation_step``; where
    the batches have labels and the network returns logits, accuracy, its interval and McNemar's test are
    reported too. Works with any LightningModule and any data, also under DDP; not with weights that are
    sharded over processes.

    Writes ``checkpoints/pruned.ckpt``, which :func:`fer.pruning.load_pruned` takes (of fer's own networks
    also ``fer test`` and ``fer fit --start_from``), ``prune.json`` and figures into the folder of the run.
    Logs ``prune/…``: the metric, ``parameters_…``, ``macs_…``, ``bytes_…``, ``neurons_…``, of classifiers
    ``acc_…`` and ``loss_…``, each ``_before`` and ``_after``, and ``compression``.

    Args:
        enabled: Whether the network is pruned when training ends.
        metric: Name of the validation metric that the results show first.
        samples: Samples to measure the neurons on: a tensor, a list of batches, or a loader. None: a
            stratified sample of train without augmentation, if the data module offers it, else samples at
            even distances of the training data, as its loader gives them.
        network: Name of the network in the LightningModule, such as ``backbone``; None: all of it.
        inputs: Function from a batch to what the network takes; None: a tensor, the first part of a tuple, or
            the entries of a mapping that ``forward`` names.
        num_patterns: Old name of ``num_samples``.
        target_macs: Share of the multiply-adds to keep, 0 to 1, instead of thresholds. Of all layers,
            those neurons are removed that change the outputs least for what they save. null: no target.
        target_params: Share of the parameters to keep, 0 to 1, instead of thresholds.
        target_latency: Share of the time for one sample, on this machine, to keep, 0 to 1, instead of
            thresholds.
        **settings: Settings of the pruning; see :class:`fer.pruning.PruneSettings`.

    Attributes:
        pruned: The smaller LightningModule in eval mode, on the CPU; None before pruning, and where the
            strategies ``ddp_spawn`` and ``ddp_fork`` trained in processes that have ended.
        results: What it costs; None before pruning.

    Raises:
        InputError: There is no such setting, or two that exclude each other. At the start of the fit or when
            it ends: a network or a layer that was named cannot be pruned. Whatever else is in the way is one
            warning.

    Source: Gedeon and Harris, "Network Reduction Techniques", 1991; merges: :mod:`fer.neurons.merge`.
    """

    def __init__(
        self,
        enabled: bool = True,
        metric: str = "val/acc",
        samples: Any = None,
        network: str | None = None,
        inputs: InputsOf | None = None,
        num_patterns: int | None = None,
        target_macs: float | None = None,
        target_params: float | None = None,
        target_latency: float | None = None,
        **settings: Any,
    ) -> None:
        if num_patterns is not None:
            log.warning("num_patterns is now called num_samples; the old name will go")
            settings.setdefault("num_samples", num_patterns)
        self.enabled = enabled
        self.metric = metric
        self.samples = samples
        self.network = network
        self.inputs = inputs
        PruneSettings.check_names(settings, type(self))
        self.settings = PruneSettings(**settings)
        self.target = find_target({"macs": target_macs, "params": target_params, "latency": target_latency})
        """By the name of a size the share of it that is kept; empty without a target."""
        if self.target:
            self.settings.check_size(self.target)
        self.console = Console(highlight=False, soft_wrap=True)
        self.pruned: LightningModule | None = None
        self.results: PruneResults | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the settings, and find the network and the named layers, before hours of training."""
        if not self.enabled:
            return
        self.settings.check_size(self.target)
        found = find_network(pl_module, self.network)
        names = [found.layer_of(name) for name, _ in found.module.named_modules() if name]
        for layer in self.named_layers:
            if layer not in names and f"{found.prefix}{layer}" not in names:
                hint = did_you_mean(layer, names) or f"it has {', '.join(names)}"
                msg = f"prune.layers: {type(found.module).__name__} has no layer {layer!r}: {hint}"
                raise InputError(msg)
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(each, PruneCallback) and each.enabled for each in callbacks) > 1:
            msg = "two PruneCallbacks would write the same pruned.ckpt: enable one of them"
            raise InputError(msg)

    @property
    def named_layers(self) -> list[str]:
        """The layers that the settings name."""
        return [*(self.settings.layers or ()), *(self.settings.num_removed or ())]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune the network, if this is enabled and there is something to prune."""
        if not self.enabled:
            return
        self.pruned = self.results = None
        reason = why_not(trainer)
        if not reason:
            try:
                with isolate_rng():
                    self.prune(trainer, pl_module)
            except InputError as e:
                if self.named_layers:
                    raise
                reason = str(e)
        if reason and trainer.is_global_zero:
            log.warning("prune: nothing is pruned: %s", reason)

    def prune(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune the best checkpoint or the last weights, evaluate, write and log; all processes together.

        Raises:
            InputError: It cannot be pruned.
        """
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        last = {} if best else _last_checkpoint(trainer)
        done: list[_Done] = []

        def prune_here() -> tuple[dict[str, dict[str, Any]], str, dict[str, int]]:
            job = self._prune_copy(trainer, pl_module, _load_checkpoint(trainer, best) if best else last)
            done.append(job)
            states = {name: _on_cpu(module.state_dict()) for name, module in job.modules.items()}
            return states, job.found.attribute, dict(job.pruning.widths)

        states, attribute, widths = from_first(trainer, prune_here)
        modules: dict[str, LightningModule] = {}
        for name, state in states.items():
            if name in WHOLE:
                modules[name] = _plain(_copy(pl_module), trainer)
                load_state(modules[name], state)
            else:
                modules[name] = rebuild(modules["before"], attribute, widths, state)
        self.pruned = modules["after"]
        metrics = self._validate(trainer, modules)

        def finish() -> PruneResults:
            return self._finish(trainer, pl_module, done[0], metrics)

        self.results = from_first(trainer, finish)

    def _prune_copy(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: Mapping[str, Any]
    ) -> "_Done":
        """Prune a copy of the module with the weights of a checkpoint."""
        before = _copy(pl_module)
        try:
            before.on_load_checkpoint(dict(checkpoint))
        except FOREIGN_ERRORS as e:
            msg = f"{type(before).__name__}.on_load_checkpoint failed: {one_line(e)}"
            raise InputError(msg) from e
        load_state(before, checkpoint["state_dict"], is_strict=before.strict_loading)
        before = _plain(before, trainer).to(trainer.strategy.root_device)
        found = find_network(before, self.network)
        samples = training_samples(
            *(trainer, pl_module, found.module),
            num_samples=self.settings.num_samples,
            given=self.samples,
            inputs=self.inputs,
        )
        try:
            with eval_state(found.module):
                call(found.module, samples.example)
        except InputError as e:
            msg = (
                f"{e}; give samples= that it takes, inputs=, a function from a batch to those, or network=, "
                "the name of the network in the module"
            )
            raise InputError(msg) from e
        settings, limit = _within(self.settings, found.prefix), limit_of(self.target, found.module)
        pruning = prune_to(found.module, samples.batches, settings, limit)
        modules = {"before": before}
        for name, network in networks_to_compare(found.module, pruning).items():
            if name != "before":
                copied = _copy(before)
                modules[name] = replace_network(copied, find_network(copied, self.network).module, network)
        return _Done(modules, found, pruning, samples, checkpoint)

    def _validate(
        self, trainer: Trainer, modules: Mapping[str, LightningModule]
    ) -> dict[str, dict[str, float]]:
        """Return the metrics of modules by name; empty, after a warning, if they cannot be validated."""
        try:
            metrics = {name: validate(trainer, module) for name, module in modules.items()}
        except InputError as e:
            if trainer.is_global_zero:
                log.warning("prune: %s", e)
            return {}
        return metrics

    def _finish(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        done: "_Done",
        metrics: Mapping[str, Mapping[str, float]],
    ) -> PruneResults:
        """Compare both networks; write, print and log the results."""
        found, run = done.found, run_of_trainer(trainer)
        with aside(trainer, pl_module):
            results = compare(
                *(found.module, done.pruning, self._val_batches(trainer, pl_module, done)),
                **describe(pl_module, getattr(trainer, "datamodule", None)),
                metrics=metrics,
                metric=find_metric(self.metric, metrics),
                prefix=found.prefix,
            )
        path = save_pruning(
            *(done.pruning, results, run.folder),
            state=done.modules["after"].state_dict(),
            attribute=found.attribute,
            unpruned=done.checkpoint,
        )
        with drawing("prune", missing_figures(trainer)):
            for name, figure in draw_pruning(done.pruning, results).items():
                save_figure(trainer, name, figure)
        if path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        self.console.print(
            f"measured on  {done.samples.origin}{_in_float32(trainer)}\n{results.table()}\n\n"
            f"pruned       {path}\n{_use_of(path, done)}",
            markup=False,
        )
        for logger in trainer.loggers:
            logger.log_metrics(results.scalars(), step=trainer.global_step)
        return results

    def _val_batches(self, trainer: Trainer, pl_module: LightningModule, done: "_Done") -> Iterator[Inputs]:
        """Yield the batches of the first validation loader; without one, a batch that was measured on."""
        loaders = fresh_val_loaders(trainer) if has_val_loaders(trainer) else None
        loader: Any = first_loader(getattr(loaders, "iterables", loaders))
        if loader is None:
            yield replace(done.samples.batches[0], batch=None)
            return
        limit = trainer.limit_val_batches
        num = limit if isinstance(limit, int) else None if limit == 1 else int(limit * len(loader))
        for batch in islice(loader, num):
            moved = pl_module._on_before_batch_transfer(batch)
            moved = trainer.strategy.batch_to_device(moved, dataloader_idx=0)
            yield inputs_of(moved, done.found.module, self.inputs)


class _Done(NamedTuple):
    """What the first process knows of a pruning.

    Attributes:
        modules: Copies of the module, each with one of the networks that are compared; see
            :func:`fer.pruning.compared.networks_to_compare`.
        found: The network in the one ``before`` pruning.
        pruning: The pruning of it.
        samples: The samples that were measured on.
        checkpoint: Content of the unpruned checkpoint.
    """

    modules: Mapping[str, LightningModule]
    found: FoundNetwork
    pruning: Pruning
    samples: Samples
    checkpoint: Mapping[str, Any]


def why_not(trainer: Trainer) -> str:
    """Return why nothing can be pruned at the end of a fit; empty if there is no reason."""
    reasons = {
        "fast_dev_run only tries the code": is_dry_run(trainer),
        "training was asked to stop": is_stopped(trainer),
        "no batch was trained on": trainer.fit_loop.epoch_loop.total_batch_idx < 0,
        f"{type(trainer.strategy).__name__} shards the weights across processes; use DDP": is_sharded(
            trainer
        ),
    }
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def describe(pl_module: LightningModule, data: Any) -> dict[str, Any]:
    """Return what :func:`fer.pruning.compare` is told of a LightningModule and its data module."""
    names = getattr(pl_module, "class_names", None) or getattr(data, "class_names", None)
    return {
        "class_names": [str(name) for name in names] if isinstance(names, list | tuple) else None,
        "protocol": getattr(data, "protocol_name", ""),
        "memory_format": getattr(pl_module, "memory_format", torch.contiguous_format),
    }


def find_metric(name: str, metrics: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return the name under which a metric was logged, with a warning if it is not or is NaN.

    Args:
        name: Its name, perhaps without Lightning's ending.
        metrics: Metrics ``before`` and ``after`` pruning, and of other networks; empty: there was no
            validation.

    >>> find_metric("loss", {when: {"loss/dataloader_idx_0": 0.5} for when in ("before", "after")})
    'loss/dataloader_idx_0'
    """
    if not metrics:
        return None
    logged = [each for each in metrics["before"] if each in metrics["after"]]
    found = next(
        (f"{name}{end}" for end in ("", "_epoch", "/dataloader_idx_0") if f"{name}{end}" in logged), None
    )
    if found is None:
        log.warning(
            "prune.metric: the validation logs no %r; %sit logs %s",
            *(name, did_you_mean(name, logged), ", ".join(logged) or "nothing"),
        )
        return None
    for when in ("before", "after"):
        if math.isnan(metrics[when][found]):
            log.warning("prune: %s is NaN %s pruning", found, when)
    return found


def _in_float32(trainer: Trainer) -> str:
    """Return why accuracies differ a little from those of training, if they do."""
    is_rounded = trainer.precision not in ("32-true", "64-true")
    return f"; in float32, while training was in {trainer.precision}" if is_rounded else ""


def _within(settings: PruneSettings, prefix: str) -> PruneSettings:
    """Return settings whose layers have the names that they have in the network."""
    layers, nums = settings.layers, settings.num_removed
    return replace(
        settings,
        layers=layers and [layer.removeprefix(prefix) for layer in layers],
        num_removed=nums and {layer.removeprefix(prefix): num for layer, num in nums.items()},
    )


def _use_of(path: Path, done: _Done) -> str:
    """Return how to go on with a pruned checkpoint, for the terminal."""
    if "task" in done.checkpoint:
        return f"test it      fer test {path}"
    kind = type(done.modules["before"])
    arguments = ", ".join(
        f"{each.name}=..."
        for each in signature(kind).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    )
    return (
        "load it with (load_from_checkpoint would build the unpruned layers)\n"
        "  from fer.pruning import load_pruned\n"
        f"  network = load_pruned({kind.__name__}({arguments}), {str(path)!r})"
    )


def _load_checkpoint(trainer: Trainer, path: str) -> Mapping[str, Any]:
    """Return the content of a checkpoint that this run has written, so that its pickled code is trusted.

    Raises:
        InputError: It cannot be read.
    """
    try:
        content: Mapping[str, Any] = trainer.strategy.load_checkpoint(path, weights_only=False)
    except (*FOREIGN_ERRORS, OSError, EOFError, pickle.UnpicklingError) as e:
        msg = f"{path}: the best checkpoint cannot be read: {one_line(e)}"
        raise InputError(msg) from e
    return content


def _last_checkpoint(trainer: Any) -> Mapping[str, Any]:
    """Return the content of a checkpoint of the last weights, which Lightning writes only to a file."""
    content: Mapping[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
    return content


def _copy(module: LightningModule) -> LightningModule:
    """Return a deep copy without what Lightning keeps of a running fit."""
    copied: Any = copy_network(module)
    copied._metric_attributes = copied._current_fx_name = None  # the names of the original's metrics
    return copied  # type: ignore[no-any-return]


def _plain(module: LightningModule, trainer: Trainer) -> LightningModule:
    """Return a copy without compiled parts, in float32: least squares need more digits than bfloat16 has."""
    module = uncompile(module)
    return module.double() if trainer.precision == "64-true" else module.float()


def _on_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in state.items()}
