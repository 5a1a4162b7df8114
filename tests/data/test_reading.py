"""Every image file is RGB or named with a reason."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from fer.data.reading import (
    BACKGROUND,
    BadImageError,
    describe_skipped,
    digest_image,
    find_files,
    find_images,
    image_shape,
    read_image,
)
from fer.errors import InputError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, with a single row of bytes in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        length, checksum = struct.pack(">I", len(content)), struct.pack(">I", zlib.crc32(kind + content))
        return length + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")


def saved(image: Image.Image, path: Path, **kwargs) -> Path:
    image.save(path, **kwargs)
    return path


@pytest.mark.parametrize(
    ("suffix", "feature"), [(".avif", "avif"), (".jp2", "jpg_2000"), (".J2K", "jpg_2000")]
)
def test_newer_formats_are_read_where_pillow_can(suffix, feature, tmp_path):
    if not features.check(feature):
        pytest.skip(f"this Pillow reads no {suffix}")
    path = saved(Image.new("RGB", (16, 16), RED), tmp_path / f"a{suffix}")
    assert find_images(tmp_path) == [path]
    assert np.abs(read_image(path).astype(int) - RED).max() < 16


def test_photos_of_phones_need_a_package(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"")
    monkeypatch.setattr("fer.data.reading.IMAGE_SUFFIXES", frozenset({".png"}))
    found = find_files(tmp_path)
    assert found.images == []
    assert describe_skipped(found.skipped, tmp_path) == (
        "skipped 1 file: 1 .heic (a.heic); pip install pillow-heif to read HEIC"
    )


def two_pixels(mode: str, values) -> Image.Image:
    image = Image.new(mode, (2, 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


def palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    return image


G = BACKGROUND


@pytest.mark.parametrize(
    ("image", "suffix", "expected"),
    [
        pytest.param(two_pixels("RGB", [RED, BLUE]), "png", [RED, BLUE], id="RGB"),
        pytest.param(two_pixels("L", [0, 200]), "png", [(0, 0, 0), (200, 200, 200)], id="grey"),
        pytest.param(two_pixels("1", [0, 1]), "png", [(0, 0, 0), (255, 255, 255)], id="1 bit"),
        pytest.param(palette(), "png", [RED, BLUE], id="palette"),
        pytest.param(
            two_pixels("RGBA", [(*RED, 255), (*RED, 0)]), "png", [RED, (G, G, G)], id="transparent on grey"
        ),
        pytest.param(two_pixels("LA", [(9, 255), (9, 0)]), "png", [(9, 9, 9), (G, G, G)], id="grey, alpha"),
        pytest.param(two_pixels("CMYK", [(0, 255, 255, 0), (255, 255, 0, 0)]), "tif", [RED, BLUE], id="CMYK"),
        pytest.param(
            two_pixels("I;16", [256, 65_535]), "png", [(1, 1, 1), (255, 255, 255)], id="16 bits, not clipped"
        ),
        pytest.param(two_pixels("I", [0, 32_768]), "tif", [(0, 0, 0), (128, 128, 128)], id="16 bits in 32"),
        pytest.param(two_pixels("F", [0.0, 1.0]), "tif", [(0, 0, 0), (255, 255, 255)], id="float to 1"),
        pytest.param(two_pixels("F", [0.0, 200.0]), "tif", [(0, 0, 0), (200, 200, 200)], id="float to 255"),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, suffix: str, expected, tmp_path: Path) -> None:
    image = read_image(saved(image, tmp_path / f"a.{suffix}"))
    assert image.dtype == np.uint8
    assert [tuple(pixel) for pixel in image[0].tolist()] == expected


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        pytest.param(1, [[1, 2, 3]], id="upright"),
        pytest.param(2, [[3, 2, 1]], id="mirrored"),
        pytest.param(3, [[3, 2, 1]], id="upside down"),
        pytest.param(6, [[1], [2], [3]], id="turned right"),
        pytest.param(8, [[3], [2], [1]], id="turned left"),
    ],
)
def test_exif_rotation_is_done(orientation: int, expected, tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[1, 2, 3]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(image, tmp_path / "a.png", exif=exif)
    image = read_image(path)
    assert image[..., 0].tolist() == expected
    assert image_shape(path) == image.shape[:2]


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == list(RED)


def test_one_pixel_is_a_image(tmp_path: Path) -> None:
    assert read_image(saved(Image.new("L", (1, 1)), tmp_path / "a.png")).shape == (1, 1, 3)


def photo_bytes() -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "an empty file", id="empty"),
        pytest.param(b"happy, sad", "not an image", id="text"),
        pytest.param(photo_bytes()[:-500], "not a whole image", id="truncated"),
        pytest.param(photo_bytes()[:40], "no", id="header only"),
        pytest.param(png(20_000, 20_000), "too many pixels", id="20,000 x 20,000"),
        pytest.param(png(9_000, 9_000), "too many pixels: 9000x9000", id="beyond our limit, not PIL's"),
        pytest.param(png(40_000, 10), "too many pixels: 40000x10", id="too long"),
        pytest.param(png(64, 64), "not a whole image", id="hardly any data"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a b ü.png"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=reason) as caught:
        read_image(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param([0.0, 300.0], "neither 0..1 nor 0..255", id="float beyond 255"),
        pytest.param([-0.5, 1.0], "neither", id="negative"),
        pytest.param([0.0, float("nan")], "neither", id="NaN"),
    ],
)
def test_floats_of_no_known_range_are_bad(values: list[float], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=reason):
        read_image(saved(two_pixels("F", values), tmp_path / "a.tif"))


@pytest.mark.parametrize("read", [read_image, image_shape, digest_image])
def test_what_is_no_file_is_bad_and_not_waited_for(read, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    reasons = []
    for name in ("pipe", "folder", "link", "loop", "absent"):
        with pytest.raises(BadImageError) as caught:
            read(tmp_path / f"{name}.png")
        reasons.append(caught.value.reason)
    assert reasons[:3] == ["not a file", "a folder", "a link to nowhere.png, which does not exist"]
    assert "cannot be read" in reasons[3]
    assert reasons[4] == "there is no such file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_bad(tmp_path: Path) -> None:
    path = saved(Image.new("L", (2, 2)), tmp_path / "a.png")
    path.chmod(0)
    for read in (read_image, digest_image):
        with pytest.raises(BadImageError, match="cannot be read"):
            read(path)


def test_images_are_found_in_order_and_hidden_ones_left_out(tmp_path: Path) -> None:
    shown = ["a b/é 1.JPG", "a b/é 10.png", "a/2.png", "top.webp"]
    hidden = [".x.png", "a/.y.png", "__MACOSX/a/2.png", ".z/1.png", "a/notes.txt"]
    for name in shown + hidden:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == sorted(shown, key=lambda name: Path(name).parts)


def test_links_are_followed_each_folder_once(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "1.png").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "happy").symlink_to(real)
    (real / "back").symlink_to(root)  # a circle
    (root / "file.png").symlink_to(real / "1.png")
    (root / "broken.png").symlink_to("nowhere")
    names = [path.relative_to(root).as_posix() for path in find_images(root)]
    assert names == ["broken.png", "file.png", "happy/1.png"]


def test_images_of_a_file_or_of_nothing_raise(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for path in (tmp_path / "a.png", tmp_path / "absent"):
        with pytest.raises(InputError, match="is not a folder"):
            find_images(path)


def test_equal_bytes_have_equal_digests(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    first, second, third = (digest_image(tmp_path / name) for name in "abc")
    assert first == second != third
