"""Losses and logits that are not finite: stop the training, or leave the batch out."""

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DistributedSampler, SequentialSampler

from fer.callbacks.evaluation import HoldsSplits
from fer.callbacks.last import keep_means
from fer.callbacks.network import find_network
from fer.checkpoints import read_any_checkpoint
from fer.errors import InputError
from fer.files import atomic_write
from fer.neurons.inputs import call, inputs_of
from fer.neurons.nested import tensors_in

OnNan = Literal["stop", "skip"]
"""What happens when the loss of a training batch is NaN or infinite.

- ``stop``: the training stops with an error.
- ``skip``: the batch is left out, without an optimizer step. After 10 such batches in a row training stops.
"""

MAX_SKIPPED: Final = 10
"""Batches in a row that ``skip`` leaves out."""

NUM_NAMED: Final = 3
"""Samples that a message names."""

log = logging.getLogger("fer.callbacks")


class FiniteCallback(Callback):
    """Stop the training when a loss is NaN or infinite, or leave such batches out.

    It works for any LightningModule, with automatic and manual optimization. All processes decide alike.

    The loss is checked on the device, and the check is copied to the CPU while the backward pass runs.
    ``stop`` reads it before the optimizer changes the weights, while a GPU has the backward pass to do.
    ``skip`` also checks the gradients, which can overflow although the loss is finite, and therefore waits
    for each backward pass, as ``torch.amp.GradScaler`` does. A skipped batch leaves weights, optimizer and
    buffers, such as the statistics of batch norm, and the means over the epoch that ``training_step`` logs,
    as they were. The number of skipped batches is logged as ``train/skipped`` once an epoch.

    After each epoch the weights are checked, and the losses that ``validation_step`` returns.

    Args:
        on_nan: ``stop`` or ``skip``.
    """

    def __init__(self, on_nan: OnNan = "stop") -> None:
        self.on_nan = on_nan
        self.num_skipped = 0
        """Batches that were left out in this epoch."""
        self.num_in_a_row = 0
        self.batch: Any = None
        self.loss: Tensor | None = None
        self.flag: _Flag | None = None
        self.is_dropped = False
        """Whether the current batch is left out."""
        self.drops_step = False
        """Whether the next optimizer step is left out, since such a batch is among those it accumulates."""
        self.buffers: list[Tensor] = []
        self.put_back_means: Callable[[], None] = lambda: None
        self.val_flags: list[Tensor] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count anew."""
        del trainer, pl_module
        self.num_skipped = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch, for a message, and what its forward pass changes."""
        del batch_idx
        self.batch, self.is_dropped = batch, False
        if self.on_nan == "skip":
            self.put_back_means = keep_means(trainer)
            self.buffers = [buffer.clone() for buffer in pl_module.buffers()]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss, without waiting for the device."""
        del pl_module
        self.loss = loss.detach()
        self.flag = _Flag(self._in_any_process(trainer, ~self.loss.isfinite().all()))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, or leave the batch out, if its loss is not finite.

        Raises:
            InputError: The message names epoch, batch, layer and samples.
        """
        if self.flag is not None and self.flag.read():
            self._meet(trainer, pl_module, "loss")
        self.flag = None

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Leave out the step of a batch that is left out."""
        if self.on_nan == "skip" and not self.drops_step:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
            flag = _not_finite([each for each in gradients if each is not None])
            if flag is not None and bool(self._in_any_process(trainer, flag)):
                self._meet(trainer, pl_module, "gradients")
        if self.drops_step:
            optimizer.zero_grad(set_to_none=True)  # an optimizer passes over weights without a gradient
            self.drops_step = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Put back what the forward pass of a batch that was left out has changed."""
        del trainer, outputs, batch, batch_idx
        self.batch = self.loss = None
        if not self.is_dropped:
            self.num_in_a_row = 0
            return
        for buffer, before in zip(pl_module.buffers(), self.buffers, strict=True):
            buffer.copy_(before)
        self.put_back_means()

    def _meet(self, trainer: Trainer, pl_module: LightningModule, what: str) -> None:
        """Stop, or leave the current batch out."""
        if self.on_nan == "stop":
            raise InputError(self._describe(trainer, pl_module, what))
        self.is_dropped = self.drops_step = True
        self.num_skipped += 1
        self.num_in_a_row += 1
        if self.num_in_a_row == MAX_SKIPPED:
            line = self._describe(trainer, pl_module, what)
            msg = f"{MAX_SKIPPED} batches in a row were skipped, the last of them in {line}"
            raise InputError(msg)
        if self.num_skipped == 1:
            place = f"epoch {trainer.current_epoch + 1}, batch {_batch_idx(trainer)}"
            log.warning(
                "%s: skipped, since its %s is not finite; train/skipped counts such batches", place, what
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the number of batches that were left out, and check the weights before they are saved.

        Raises:
            InputError: A weight is not finite.
        """
        if self.on_nan == "skip":
            pl_module.log("train/skipped", float(self.num_skipped))
        _check_weights(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the weights before they are evaluated and saved.

        Raises:
            InputError: A weight is not finite.
        """
        self.val_flags = []
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            _check_weights(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Check the loss, without waiting for the device."""
        del trainer, pl_module, batch, batch_idx, dataloader_idx
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self.val_flags.append(~loss.detach().isfinite().all())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before a checkpoint is selected by a validation whose loss is not finite.

        With ``skip``, it is a warning.

        Raises:
            InputError: The loss of a validation batch is not finite.
        """
        flags, self.val_flags = self.val_flags, []
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        broken = torch.stack(flags) if flags else torch.zeros(0, dtype=torch.bool, device=pl_module.device)
        if not bool(self._in_any_process(trainer, broken.any())):
            return
        line = f"epoch {trainer.current_epoch + 1}: the validation loss is not finite"
        if batches := broken.nonzero().flatten().tolist():  # else it was in another process
            names = _names(trainer, "val", trainer.val_dataloaders, batches[0])
            samples = f", the samples {_list(names)}" if names else ""
            line += f" in {len(batches)} of {len(flags)} batches, first in batch {batches[0]}{samples}"
        if self.on_nan == "stop":
            msg = f"{line}; {_way_out(trainer)}"
            raise InputError(msg)
        log.warning("%s", line)

    def _describe(self, trainer: Trainer, pl_module: LightningModule, what: str) -> str:
        """Return the line about the current batch: where, which layer was first, which samples."""
        place = f"epoch {trainer.current_epoch + 1}, batch {_batch_idx(trainer)}"
        if what == "loss" and self.loss is not None:
            value = next((each for each in self.loss.flatten().tolist() if not math.isfinite(each)), None)
            problem = (
                f"the loss is {value}" if value is not None else "the loss of another process is not finite"
            )
        else:
            problem = f"the {what} are not finite"
        layer, rows, has_input = _find_origin(trainer, pl_module, self.batch)
        names = _names(trainer, "train", trainer.train_dataloader, _batch_idx(trainer))
        samples = ""
        if rows:
            named = [names[row] for row in rows if row < len(names)] or [str(row) for row in rows]
            samples = f"; samples {'' if names else 'at the positions '}{_list(named)}"
        way_out = "correct or remove these samples" if has_input else _way_out(trainer)
        return f"{place}: {problem}{layer}{samples}; {way_out}"

    @staticmethod
    def _in_any_process(trainer: Trainer, flag: Tensor) -> Tensor:
        """Return whether a flag is set in any of the processes that train together."""
        if trainer.world_size == 1:
            return flag
        reduced: Tensor = trainer.strategy.reduce(flag.float(), reduce_op="max")
        return reduced


class FiniteCheckpoint(ModelCheckpoint):
    """Checkpoint of the best value of a metric, which NaN and infinity never are.

    A training that goes on also does so with the best checkpoint that is found beside the one it goes on
    from, even where that folder was moved or is another run's, whose best checkpoint is then copied.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the trainer, which will know the checkpoint that training goes on from."""
        with warnings.catch_warnings():  # that there are checkpoints, of the run itself
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")
            super().setup(trainer, pl_module, stage)
        self.trainer = trainer

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best checkpoint and its score, which it holds itself.

        The state that was loaded may be older: of an epoch that was cut off after its validation.
        """
        name = Path(str(state_dict["best_model_path"] or f"{self.filename}.ckpt")).name
        found, mine = Path(str(self.trainer.ckpt_path)).parent / name, Path(str(self.dirpath)) / name
        try:
            state = read_any_checkpoint(found)["callbacks"][self.state_key]
        except (InputError, KeyError) as e:
            if state_dict["best_model_path"]:
                log.warning("the best checkpoint is selected anew, since the one so far is lost: %s", e)
            return
        if self.trainer.is_global_zero and found.resolve() != mine.resolve():
            with atomic_write(mine) as file:
                file.write(found.read_bytes())
        score, best = state["best_model_score"], str(mine)
        self.best_model_score, self.kth_value, self.current_score = score, score, score
        self.best_model_path = self.kth_best_model_path = best
        self.best_k_models = {best: score}

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether a value is among the best."""
        if current is not None and not bool(torch.as_tensor(current).isfinite()):
            return False
        return super().check_monitor_top_k(trainer, current)


class _Flag:
    """A condition on a device that is copied to the CPU in the background."""

    def __init__(self, condition: Tensor) -> None:
        self.value = condition.to("cpu", non_blocking=True)
        self.event = torch.Event(condition.device) if condition.is_cuda else None
        if self.event is not None:
            self.event.record()

    def read(self) -> bool:
        """Return the condition, once the device has found it; what was asked of it later can still run."""
        if self.event is not None:
            self.event.synchronize()
        return bool(self.value)


def _not_finite(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return whether any value is NaN or infinite, as a tensor on the device; None without tensors."""
    floating = [each for each in tensors if each.is_floating_point() and each.numel()]
    if not floating:
        return None
    return ~torch.stack([each.detach().isfinite().all() for each in floating]).all()


def _check_weights(trainer: Trainer, pl_module: LightningModule) -> None:
    """Refuse weights, and statistics of batch norm, that are not finite."""
    statistics = {
        name: each
        for name, each in pl_module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }
    named = {**dict(pl_module.named_parameters()), **statistics}
    flag = _not_finite(list(named.values()))
    if flag is not None and bool(flag):
        broken = next(name for name, each in named.items() if not bool(each.isfinite().all()))
        msg = (
            f"epoch {trainer.current_epoch + 1}, after batch {_batch_idx(trainer)}: {broken} is not finite; "
            f"{_way_out(trainer)}"
        )
        raise InputError(msg)


def _batch_idx(trainer: Trainer) -> int:
    """Return the number of the current training batch in its epoch, from 0."""
    return trainer.fit_loop.epoch_loop.batch_idx


def _way_out(trainer: Trainer) -> str:
    """Return what can be done, by precision."""
    if str(trainer.precision).startswith(("16", "transformer-engine-float16")):
        return "use --trainer.precision bf16-mixed or 32-true, or lower the learning rate"
    return "lower the learning rate"


def _find_origin(trainer: Trainer, pl_module: LightningModule, batch: Any) -> tuple[str, list[int], bool]:
    """Pass a batch through the network again, to see where values stop being finite.

    Returns:
        A clause about the first layer, empty if there is none; the positions in the batch that are concerned;
        and whether the inputs themselves are not finite.
    """
    network = find_network(pl_module).module
    first: list[tuple[str, nn.Module]] = []

    def look(name: str, module: nn.Module, output: Any) -> None:
        if not first and _is_broken(output):
            first.append((name, module))

    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: look(name, module, output))
        for name, module in network.named_modules()
    ]
    try:
        inputs = inputs_of(batch, network)
        if _is_broken(inputs.tensors):
            return "; the inputs hold values that are not finite", _rows(inputs.tensors, len(inputs)), True
        with (
            torch.no_grad(),
            torch.compiler.set_stance("force_eager"),
            trainer.precision_plugin.forward_context(),
        ):
            output = call(network, inputs)
    except InputError:  # the network takes something else than its batches show
        return "", [], False
    finally:
        for handle in handles:
            handle.remove()
    if not first:
        return "", [], False
    ((name, module),) = first
    layer = f"; the first layer whose outputs are not finite is {name or type(network).__name__}"
    if _is_broken(list(module.parameters(recurse=False))):
        layer += ", whose weights are not finite"
    return layer, _rows(output, len(inputs)), False


def _is_broken(value: Any) -> bool:
    """Return whether any tensor, however nested, holds a value that is not finite."""
    flag = _not_finite(list(tensors_in(value)))
    return flag is not None and bool(flag)


def _rows(value: Any, num: int) -> list[int]:
    """Return the samples, of N, for which a tensor holds a value that is not finite."""
    rows = torch.zeros(num, dtype=torch.bool)
    for tensor in tensors_in(value):
        if tensor.ndim and len(tensor) == num:
            rows |= ~tensor.detach().isfinite().reshape(num, -1).all(dim=1).cpu()
    return rows.nonzero().flatten().tolist()


def _names(trainer: Trainer, split: str, loader: Any, batch_idx: int) -> list[str]:
    """Return the names of a batch's samples, if the data has names and its loader's order can be repeated."""
    data, sampler = getattr(trainer, "datamodule", None), getattr(loader, "sampler", None)
    size = getattr(loader, "batch_size", None)
    if not isinstance(data, HoldsSplits) or size is None:
        return []
    if not isinstance(sampler, SequentialSampler | DistributedSampler):
        return []  # it draws from a random state that has gone on since
    rows = islice(sampler, batch_idx * size, (batch_idx + 1) * size)
    return [str(data.splits[split].names[row]) for row in rows]


def _list(names: Sequence[str]) -> str:
    """Return the first names, and the number of the others.

    >>> _list(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return f"{', '.join(names[:NUM_NAMED])}{more}"
