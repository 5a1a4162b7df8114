"""Pyramid histograms of gradients: edges whose place and direction are known, invariants, an own pipeline."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage import data, feature

from fer.errors import InputError
from fer.features import phog

NOISE = np.random.default_rng(0).integers(256, size=(3, 50, 37), dtype=np.uint8)


def step(turns=0, *, at=20):
    """An image of 48 x 48, dark to the left of a column and light to the right, turned clockwise."""
    image = np.full((48, 48), 50, np.uint8)
    image[:, at:] = 200
    return np.rot90(image, -turns)


def levels_of(descriptor, *, bins=8, levels=3):
    """Take a descriptor apart into an array (side, side, bins) for each level."""
    sizes = [4**level * bins for level in range(levels + 1)]
    parts = np.split(descriptor, np.cumsum(sizes)[:-1])
    return [part.reshape(2**level, 2**level, bins) for level, part in enumerate(parts)]


@pytest.fixture(scope="module")
def patches():
    face = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY)
    corners = [(0, 150), (20, 200), (100, 100), (200, 50), (300, 300)]
    return np.stack([cv2.resize(face[r : r + 192, c : c + 192], (96, 96)) for r, c in corners])


# By hand


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_a_blank_image_is_all_zero(grey):
    descriptor = phog(np.full((1, 48, 48), grey, np.uint8))
    assert descriptor.shape == (1, 680)
    assert not descriptor.any()


@pytest.mark.parametrize(
    ("turns", "degrees", "expected"),
    [
        pytest.param(0, 360, 0, id="lighter to the right"),
        pytest.param(1, 360, 2, id="lighter below"),
        pytest.param(2, 360, 4, id="lighter to the left"),
        pytest.param(3, 360, 6, id="lighter above"),
        pytest.param(0, 180, 0, id="right, undirected"),
        pytest.param(1, 180, 4, id="below, undirected"),
        pytest.param(2, 180, 0, id="left, undirected"),
        pytest.param(3, 180, 4, id="above, undirected"),
    ],
)
def test_a_straight_edge_falls_in_one_bin(turns, degrees, expected):
    descriptor = phog(step(turns)[None], degrees=degrees, levels=0)
    assert descriptor[0].tolist() == [float(index == expected) for index in range(8)]


@pytest.mark.parametrize(("angle", "expected"), [(20, 0), (70, 1), (160, 3), (200, 4), (300, 6)])
def test_a_slanted_edge_falls_in_the_bin_of_its_angle(angle, expected):
    y, x = np.mgrid[:64, :64] - 31.5
    across = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    image = np.round(128 + 100 * np.tanh(across / 2)).astype(np.uint8)
    histogram = phog(image[None], levels=0)[0]
    assert histogram[expected] > 0.95


def test_an_edge_falls_in_the_cells_it_runs_through():
    """At column 20 of 48 it is in the first of 2 columns, the second of 4 and the fourth of 8."""
    for level, cells in enumerate(levels_of(phog(step()[None])[0])):
        expected = np.zeros((2**level, 2**level, 8))
        expected[:, 20 * 2**level // 48, 0] = 1 / 2**level / 4
        np.testing.assert_allclose(cells, expected, atol=1e-7)


def test_edges_count_by_the_size_of_their_gradient():
    """Steps of 60 and 120 greys: a third and two thirds."""
    image = np.full((1, 48, 48), 20, np.uint8)
    image[:, :, 12:], image[:, :, 36:] = 80, 200
    left, right = levels_of(phog(image, levels=1)[0], levels=1)[1][0, :, 0]
    assert right == pytest.approx(2 * left)


def test_what_is_too_faint_is_no_edge():
    """Beside a step of 150 greys, one of a single grey is below Canny's threshold."""
    faint = step()
    faint[:, 36:] += 1
    assert (phog(faint[None]) == phog(step()[None])).all()


# Invariants


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
@pytest.mark.parametrize(("bins", "degrees"), [(8, 360), (20, 180)])
def test_every_level_adds_up_to_the_same_histogram(bins, degrees, levels):
    """Of images whose sides no power of two divides, too."""
    descriptors = phog(NOISE, bins=bins, degrees=degrees, levels=levels)
    assert descriptors.shape == (3, bins * (4 ** (levels + 1) - 1) // 3)
    assert descriptors.dtype == np.float32
    np.testing.assert_allclose(descriptors.sum(axis=1), 1, atol=1e-6)
    for descriptor in descriptors:
        coarsest, *finer = levels_of(descriptor, bins=bins, levels=levels)
        for cells in finer:
            np.testing.assert_allclose(cells.sum(axis=(0, 1)), coarsest[0, 0], atol=1e-6)


def test_undirected_is_directed_folded(patches):
    directed, undirected = phog(patches, levels=0), phog(patches, bins=4, degrees=180, levels=0)
    np.testing.assert_allclose(directed[:, :4] + directed[:, 4:], undirected, atol=1e-6)


def test_contrast_hardly_changes_it(patches):
    darker = patches // 3
    np.testing.assert_allclose(phog(2 * darker + 40), phog(darker), atol=1e-3)


def test_a_negative_turns_every_direction_round(patches):
    shifted = np.roll(phog(255 - patches, levels=0), 4, axis=1)
    # An angle on the border of two bins, as 45 degrees, stays the first of its bin.
    np.testing.assert_allclose(shifted, phog(patches, levels=0), atol=1e-3)


def test_a_image_turned_round_has_its_cells_turned_round(patches):
    """Half a turn: the last cell comes first, and each direction is opposite."""
    for turned, plain in zip(phog(patches[:, ::-1, ::-1]), phog(patches), strict=True):
        for cells, expected in zip(levels_of(turned), levels_of(plain), strict=True):
            opposite = np.roll(cells[::-1, ::-1], 4, axis=2)
            assert np.abs(opposite - expected).sum() < 0.02


# An own pipeline


def slow_phog(image, *, bins, degrees, levels):
    """Edges by scikit-image, gradients by SciPy, and a loop over the pixels for each level."""
    grey = image.astype(float)
    blurred = ndimage.gaussian_filter(grey, 2**0.5, mode="mirror")
    sizes = np.hypot(ndimage.sobel(blurred, 0, mode="mirror"), ndimage.sobel(blurred, 1, mode="mirror"))
    high = np.quantile(sizes, 0.7)
    edges = feature.canny(grey, 2**0.5, 0.4 * high, high, mode="mirror")
    dy, dx = (ndimage.sobel(grey, axis, mode="mirror") for axis in (0, 1))
    height, width = image.shape
    histograms = []
    for level in range(levels + 1):
        cells = np.zeros((2**level, 2**level, bins))
        for row, column in zip(*np.nonzero(edges), strict=True):
            angle = np.degrees(np.arctan2(dy[row, column], dx[row, column])) % degrees
            cell = row * 2**level // height, column * 2**level // width
            cells[*cell, int(angle * bins / degrees) % bins] += np.hypot(dy[row, column], dx[row, column])
        histograms.append(cells.ravel())
    histogram = np.concatenate(histograms)
    return histogram / histogram.sum()


@pytest.mark.parametrize(("bins", "degrees", "levels"), [(8, 360, 3), (20, 180, 2)])
def test_agrees_with_other_libraries(patches, bins, degrees, levels):
    """Two Cannys differ in few pixels, so that nearly all of the histogram is the same."""
    settings = {"bins": bins, "degrees": degrees, "levels": levels}
    for image, descriptor in zip(patches, phog(patches, **settings), strict=True):
        expected = slow_phog(image, **settings)
        assert np.minimum(descriptor, expected).sum() > 0.95


# Batches and refusals


def test_a_batch_is_the_images_one_by_one(patches):
    assert (phog(patches) == np.concatenate([phog(image[None]) for image in patches])).all()


def test_takes_views_what_cannot_be_written_and_nothing_at_all():
    fixed = NOISE.copy()
    fixed.flags.writeable = False
    assert (phog(fixed) == phog(NOISE)).all()
    assert (phog(NOISE[:, ::-1, ::2]) == phog(NOISE[:, ::-1, ::2].copy())).all()
    assert phog(NOISE[:0]).shape == (0, 680)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({"bins": 0}, "bins is 0", id="no bin"),
        pytest.param({"degrees": 90}, "degrees is 90: it must be one of 180, 360", id="quarter turn"),
        pytest.param({"levels": -1}, "levels is -1", id="negative level"),
        pytest.param({"levels": 6}, "50 x 37 are too small .* 64 x 64", id="too fine"),
    ],
)
def test_unusable_settings_are_named(settings, reason):
    with pytest.raises(InputError, match=reason):
        phog(NOISE, **settings)


def test_only_stacks_of_grey_bytes_are_taken():
    with pytest.raises(ValueError, match="expected grey uint8 images"):
        phog(np.zeros((2, 48, 48, 3), np.uint8))
