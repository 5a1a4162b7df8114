"""Links that lead out of a folder or in a circle, paths that climb, pickles and tags that run a command."""

import io
import os
import pickle
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from command import call
from hostile_files import ROW, Evil, write_zip

from fer.checkpoints import read_any_checkpoint, read_checkpoint
from fer.commands.choices import read_config
from fer.commands.parsing import parse_config
from fer.commands.prune import prune
from fer.data.crops import crop_images
from fer.data.faces import CropSettings
from fer.data.fer2013 import read_fer2013
from fer.data.reading import find_files
from fer.data.sfew import read_features
from fer.errors import InputError
from fer.lookup import find_checkpoint
from fer.models.transfer import read_state
from fer.report import gather, write_report
from fer.runs import Run
from fer.studies.sweepfile import read_sweep
from fer.tasks import load

HEADER = b"emotion,pixels,Usage\n"
PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)


@pytest.fixture
def mark(tmp_path: Path):
    """The folder that a pickle would make."""
    path = tmp_path / "the pickle was run"
    yield path
    assert not path.exists()


READERS: dict[str, Callable[[Path], object]] = {
    "checkpoint": read_checkpoint,
    "any checkpoint": read_any_checkpoint,
    "task": load,
    "prune": lambda path: prune([str(path)]),
    "weights": read_state,
    "features": read_features,
    "config": lambda path: parse_config(str(path)),
    "chosen config": read_config,
    "sweep": read_sweep,
    "FER2013": read_fer2013,
    "images": lambda path: crop_images([path], CropSettings(detector="none"), max_bad_share=0),
}


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".csv", ".zip"])
@pytest.mark.parametrize("form", ["pickle", "torch", "npz"])
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_runs_a_pickle(tmp_path: Path, mark: Path, reader: str, form: str, suffix: str) -> None:
    path = tmp_path / f"fer2013{suffix}"
    content = {"task": "AnnTask", "hyper_parameters": Evil(mark), "state_dict": {}}
    if form == "torch":
        torch.save(content, path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        with path.open("wb") as file:
            np.savez(file, images=np.array([Evil(mark)], object))
    with pytest.raises(InputError) as raised:
        READERS[reader](path)
    assert "weights_only" not in str(raised.value).partition("weights=")[2]


ANN = "--network ann --dataset synthetic --data.image_size 8 --wandb.mode disabled"
OPTIONS = [
    *(f"fit {ANN} --ckpt_path {{}}", f"fit {ANN} --start_from {{}}", "fit --resume {}", "fit --config {}"),
    *("fit --network conv6 --dataset fer2013 --data.root {}", "fit --config transfer --model.weights {}"),
    *("test {}", "validate --ckpt_path {}", "export {}", "prune {}", "sweep {}", "report {}"),
    *("predict --ckpt_path {}", "predict images --ckpt_path {}"),
    "prune --timm resnet18 --weights {} --images images",
]


@pytest.mark.parametrize("words", OPTIONS)
def test_no_option_that_takes_a_file_runs_a_pickle(
    tmp_path: Path, mark: Path, words: str, make_images
) -> None:
    make_images(tmp_path / "images", num=1)
    path = tmp_path / "file.ckpt"
    torch.save({"task": "AnnTask", "hyper_parameters": Evil(mark), "state_dict": {}}, path)
    called = call(*words.format(path).split())
    assert called.status == 2
    assert "Traceback" not in called.err
    assert "file.ckpt" in called.err


@pytest.mark.parametrize(
    ("name", "read"),
    [
        pytest.param("angles/epoch-0001.npz", lambda run: run.read_angles(), id="angles"),
        pytest.param("checkpoints/best.ckpt", lambda run: load(find_checkpoint(run.folder)), id="checkpoint"),
    ],
)
def test_a_pickle_in_a_run_is_not_run(tmp_path: Path, mark: Path, name: str, read) -> None:
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        np.savez(file, fc1=np.array([[Evil(mark)]], object))
    with pytest.raises(InputError):
        read(Run(tmp_path / "run"))


def test_a_pickle_in_the_cache_of_crops_is_not_run(tmp_path: Path, mark: Path, make_images) -> None:
    paths = find_files(make_images(tmp_path / "src", num=1)).images
    settings = CropSettings(detector="none", size=8)
    before = crop_images(paths, settings, cache=tmp_path / "cache")
    for path in (tmp_path / "cache" / "crops").iterdir():
        with path.open("wb") as file:
            np.savez(file, policy=np.array(Evil(mark), object), images=before.images[:1])
    after = crop_images(paths, settings, cache=tmp_path / "cache")
    np.testing.assert_array_equal(after.images, before.images)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"])
def test_tags_make_no_objects(tmp_path: Path, mark: Path, tag: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"network: ann\ndataset: {tag} ['{mark}']\n")
    for read in (
        read_config,
        read_sweep,
        lambda path: parse_config(str(path)),
        lambda path: Run(path.parent).read_config(),
    ):
        with pytest.raises(InputError, match="python/object"):
            read(path)


# Archives


@pytest.mark.parametrize("name", ["../../fer2013.csv", "/fer2013.csv", "a/../../fer2013.csv"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_climb_out_of_an_archive_write_nothing(tmp_path: Path, name: str, kind: str) -> None:
    inner = tmp_path / "inner" / "inner"
    inner.mkdir(parents=True)
    path = inner / f"data.{kind}"
    if kind == "zip":
        write_zip(path, name, [HEADER + ROW])
    else:
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(HEADER + ROW)
            archive.addfile(member, io.BytesIO(HEADER + ROW))
    before = sorted(tmp_path.rglob("*.csv"))
    with suppress(InputError):  # a name with a part ".." counts as hidden
        assert len(read_fer2013(path, cache=tmp_path / "cache").labels) == 1
    assert sorted(tmp_path.rglob("*.csv")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_not_read(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        member = tarfile.TarInfo("train/happy/Training_1.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match="no FER2013"):
        read_fer2013(tmp_path / "data.tar")


def test_a_link_in_a_zip_is_not_followed(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("train/happy/Training_1.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match=r"Training_1\.png|no FER2013"):
        read_fer2013(tmp_path / "data.zip")


# Folders


def test_links_in_a_folder_of_images_are_followed_once_and_what_is_no_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "happy"
    folder.mkdir(parents=True)
    (folder / "up").symlink_to(folder.parent)
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "secret.png").symlink_to("/etc/passwd")
    (folder / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    (folder / "image.png").write_bytes(PIXEL)
    paths = find_files(tmp_path / "images").images
    assert len(paths) == 5
    settings = CropSettings(detector="none", size=8)
    crops = crop_images(paths, settings, max_bad_share=1)
    policies = {record.path.name: record.policy for record in crops.records}
    assert policies.pop("image.png") == "none"
    assert set(policies.values()) == {"bad"}


def test_a_report_shows_no_file_from_outside_of_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    (run / "wandb" / "run-1" / "files").mkdir(parents=True)
    (run / "metrics.csv").write_text("epoch,val/acc\n0,0.5\n")
    secret = tmp_path / "secret.png"
    secret.write_bytes(PIXEL)
    (run / "figures" / "predictions.png").symlink_to(secret)
    os.mkfifo(run / "wandb" / "run-1" / "files" / "requirements.txt")  # would be waited for
    assert "images" not in gather(run, lambda *_: {})
    (run / "figures" / "predictions.png").unlink()
    (run / "figures" / "predictions.png").write_bytes(b"not a picture")
    assert "images" not in gather(run, lambda *_: {})
    (run / "figures" / "predictions.png").write_bytes(PIXEL)
    assert len(gather(run, lambda *_: {})["images"]) == 1


def test_a_report_replaces_a_link_and_not_what_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "metrics.csv").write_text("epoch,val/acc\n0,0.5\n")
    (tmp_path / "report.html").symlink_to(tmp_path / "precious")
    write_report(tmp_path, None, lambda *_: {})
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "report.html").is_symlink()


def test_a_zip_with_one_name_twice_is_read_by_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fer2013.csv", HEADER + ROW)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("fer2013.csv", HEADER + 2 * ROW)
    assert len(read_fer2013(path).labels) == 2
