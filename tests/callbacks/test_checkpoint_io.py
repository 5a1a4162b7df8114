"""Checkpoints are complete or absent, and what was altered in them is found."""

import errno
import os
import re
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from fer import __version__
from fer.callbacks.checkpoint_io import WholeCheckpointIO, write_whole_checkpoints
from fer.checkpoints import FORMAT, read_any_checkpoint, write_checkpoint
from fer.errors import InputError
from fer.files import DiskFullError

CONTENT = {"state_dict": {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3)}, "epoch": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    WholeCheckpointIO().save_checkpoint(CONTENT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_a_checkpoint_is_read_as_it_was_written_with_the_version_of_its_format(path: Path) -> None:
    for content in (read_any_checkpoint(path), WholeCheckpointIO().load_checkpoint(path, weights_only=True)):
        assert content["fer"] == {"format": FORMAT, "version": __version__}
        assert content["epoch"] == 3
        assert torch.equal(content["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert torch.load(path, mmap=True, weights_only=True)["epoch"] == 3  # any other program can read it
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


def test_whatever_byte_of_a_checkpoint_is_altered_is_found(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(InputError, match=re.escape(str(path))):
            read_any_checkpoint(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.99])
def test_a_checkpoint_that_is_cut_off_is_found_also_by_lightning(share: float, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    for read in (read_any_checkpoint, WholeCheckpointIO().load_checkpoint):
        with pytest.raises(InputError, match=re.escape(str(path))):
            read(path)


def test_a_file_that_torch_wrote_alone_is_read_and_checked_by_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    torch.save(CONTENT, path)
    assert WholeCheckpointIO().load_checkpoint(path, weights_only=True)["epoch"] == 3
    values = CONTENT["state_dict"]["weight"].numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(values, values[::-1]))
    with pytest.raises(InputError, match=r"checksum of .*/data/"):
        WholeCheckpointIO().load_checkpoint(path, weights_only=True)


def test_a_checkpoint_of_a_newer_version_names_it(tmp_path: Path) -> None:
    path = tmp_path / "new.ckpt"
    torch.save({**CONTENT, "fer": {"format": FORMAT + 1, "version": "9.8"}}, path)
    for read in (read_any_checkpoint, WholeCheckpointIO().load_checkpoint):
        with pytest.raises(InputError, match=rf"new\.ckpt was written by fer 9\.8 in format {FORMAT + 1}"):
            read(path)


def test_a_full_disk_leaves_the_checkpoint_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskFullError, match=re.escape(f"{path} cannot be written (No space left")):
        write_checkpoint(path, {**CONTENT, "epoch": 4})
    assert read_any_checkpoint(path)["epoch"] == 3
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


class OwnIO(TorchCheckpointIO):
    """A user's own way of writing."""


@pytest.mark.parametrize(
    ("plugins", "kind"),
    [
        pytest.param([], WholeCheckpointIO, id="usual"),
        pytest.param([OwnIO()], OwnIO, id="a user's own"),
        pytest.param([AsyncCheckpointIO()], AsyncCheckpointIO, id="in a thread"),
    ],
)
def test_a_trainer_keeps_a_way_of_its_own(plugins, kind, tiny_trainer) -> None:
    trainer = tiny_trainer(plugins=plugins)
    write_whole_checkpoints(trainer)
    assert type(trainer.strategy.checkpoint_io) is kind
