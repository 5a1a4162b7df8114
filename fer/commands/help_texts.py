"""Help texts that replace those of Lightning and jsonargparse."""

from typing import Final

TRAINER: Final = {
    "trainer.accelerator": "kind of device: auto, cpu, gpu, mps (Apple) or another of Lightning's",
    "trainer.devices": "number of devices, a list of their indices, -1 (all) or auto",
    "trainer.strategy": "how several devices share the work: auto, ddp, fsdp or another of Lightning's",
    "trainer.num_nodes": "number of machines",
    "trainer.precision": "numerical precision; auto: bf16-mixed where the device has matrix units for "
    "bfloat16 (AMX; NVIDIA from Ampere), else 32-true; or 16-mixed, bf16-true and others of Lightning's",
    "trainer.max_epochs": "number of epochs after which training ends; -1: never",
    "trainer.max_steps": "number of steps (batches) after which training ends; -1: max_epochs decides",
    "trainer.max_time": "time after which training ends, as DD:HH:MM:SS",
    "trainer.fast_dev_run": "number of batches of each split to run, as a check that all works; true: 1",
    "trainer.limit_train_batches": "batches of each epoch: their number, or a share such as 0.1; null: all",
    "trainer.limit_val_batches": "batches of each validation: their number, or a share; null: all",
    "trainer.limit_test_batches": "batches of a test: their number, or a share; null: all",
    "trainer.check_val_every_n_epoch": "number of epochs from one validation to the next",
    "trainer.accumulate_grad_batches": "number of batches whose gradients make one step of the optimizer",
    "trainer.gradient_clip_val": "largest norm of the gradient, to which larger ones are scaled; null: any",
    "trainer.deterministic": "use deterministic algorithms only; warn: warn where there is none",
    "trainer.profiler": "print where the time goes: simple, advanced, or a class of Lightning's",
    "trainer.callbacks": "your own callbacks, besides those of fer fit, as class_path and init_args",
    "trainer.logger": "loggers; null: metrics.csv and W&B; false: none",
    "trainer.default_root_dir": "has no effect: --runs_dir and --run_name choose the folder of a run",
}
"""Frequent options of Lightning's Trainer; the help names the others without a text."""

HELPS: Final = {
    "config": "settings as YAML or JSON: a file, or the name of a shipped config; the last one wins",
    "print_config": "print all settings as YAML, as --config takes them, and exit",
    "seed_everything": "seed of all random numbers, 0 or more",
    "prune.merge": "how the next layer's weights compensate for a removed neuron: refit (all kept neurons "
    "approximate it, by least squares), affine (the neuron most like it does, by a fitted factor and "
    "constant), scale (affine without the constant), gram (refit without a constant, with a ridge, as GRAIL "
    "does), add (the neuron most like it replaces it as if both were equal, as in the papers) or drop "
    "(nothing replaces it)",
    **TRAINER,
}
"""Help texts that replace Lightning's, jsonargparse's and those of Python's docstrings, by option."""
