"""Local phase quantisation: images whose phase is known, what must not change it, the paper's loops."""

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage import data

from fer.errors import InputError
from fer.features import lpq, lpq_codes

ROUNDING = 1e-6
"""A window of 3 has cosines of 1 and -1/2, which make zero often: it must not count as negative."""

NOISE = np.random.default_rng(0).integers(256, size=(3, 20, 23), dtype=np.uint8)

# Towards x, towards y (down), and along both diagonals.
DIRECTIONS = [
    pytest.param((1, 0), 0, id="to the right"),
    pytest.param((0, 1), 1, id="down"),
    pytest.param((1, 1), 2, id="right and down"),
    pytest.param((-1, 1), 3, id="left and down"),
]


def wave_phases(direction, *, side=40, window=7):
    """The phase, in radians, of a wave of one window's length; 1/28 turn keeps it off the signs' changes."""
    y, x = np.mgrid[:side, :side]
    return 2 * np.pi * ((direction[0] * x + direction[1] * y) / window + 1 / 56)


def as_image(phases):
    return np.round(128 + 100 * np.cos(phases)).astype(np.uint8)[None]


@pytest.fixture(scope="module")
def face():
    return cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY)[:300, 100:400]


# By hand


@pytest.mark.parametrize("decorrelate", [False, True])
@pytest.mark.parametrize("window", [3, 7, 21])
def test_where_nothing_changes_all_bits_are_set_whatever_the_grey(window, decorrelate):
    flat = np.repeat(np.arange(256, dtype=np.uint8), 30 * 30).reshape(256, 30, 30)
    assert (lpq_codes(flat, window=window, decorrelate=decorrelate) == 255).all()


@pytest.mark.parametrize(("direction", "frequency"), DIRECTIONS)
def test_a_wave_sets_the_two_bits_of_its_own_frequency_by_its_phase(direction, frequency):
    """The transform of cos(phase) is exp(-i phase) times something positive; elsewhere it is zero: set."""
    phases = wave_phases(direction)
    real, imaginary = np.cos(phases) > 0, -np.sin(phases) > 0
    others = 255 - 4**frequency * 3
    expected = others + 4**frequency * real + 4**frequency * 2 * imaginary

    codes = lpq_codes(as_image(phases), window=7, decorrelate=False)

    assert (codes[0] == expected[3:-3, 3:-3]).all()


def test_the_histogram_of_a_wave_is_its_seven_phases():
    """Phases of 1/56 + k/7 turns: two in each quarter but one in the last."""
    phases = wave_phases((1, 0), side=7 * 5 + 6)
    histogram = lpq(as_image(phases), decorrelate=False)[0]
    by_quarter = {253: 2, 252: 2, 254: 2, 255: 1}  # cos, neither, -sin and both are positive
    assert {code: round(7 * share) for code, share in enumerate(histogram) if share} == by_quarter


# The paper's formulas, in loops


def slow_parts(image, window):
    """Real and imaginary parts at the four frequencies for each pixel, shape (8, H', W')."""
    radius, a = window // 2, 1 / window
    height, width = (side - 2 * radius for side in image.shape)
    parts = np.zeros((8, height, width))
    for k, (u, v) in enumerate([(a, 0), (0, a), (a, a), (-a, a)]):
        for row, column in np.ndindex(height, width):
            total = 0j
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    grey = int(image[row + radius - dy, column + radius - dx])
                    total += grey * np.exp(-2j * np.pi * (u * dx + v * dy))
            parts[2 * k : 2 * k + 2, row, column] = total.real, total.imag
    return parts


def whitening(window):
    """The rotation as the authors' program has it: singular vectors of the parts' covariance, stretched."""
    radius, a = window // 2, 1 / window
    places = [(y, x) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1)]
    covariance = 0.9 ** cdist(places, places)
    transform = []
    for u, v in [(a, 0), (0, a), (a, a), (-a, a)]:
        wave = np.array([np.exp(2j * np.pi * (u * x + v * y)) for y, x in places])
        transform += [wave.real, wave.imag]
    stretch = np.diag(1 + 1e-6 * np.arange(7, -1, -1))
    left, _, _ = np.linalg.svd(stretch @ np.array(transform) @ covariance @ np.array(transform).T @ stretch)
    return left.T


@pytest.mark.parametrize("window", [3, 5, 7])
def test_agrees_with_the_transform_pixel_by_pixel(window):
    for image, codes in zip(NOISE, lpq_codes(NOISE, window=window, decorrelate=False), strict=True):
        bits = slow_parts(image, window) >= -ROUNDING
        assert (codes == np.packbits(bits, axis=0, bitorder="little")[0]).all()


@pytest.mark.parametrize("window", [3, 5, 7])
def test_agrees_with_the_rotated_transform_up_to_the_sign_of_an_axis(window):
    for image, codes in zip(NOISE, lpq_codes(NOISE, window=window, decorrelate=True), strict=True):
        rotated = np.tensordot(whitening(window), slow_parts(image, window), axes=1)
        bits = np.unpackbits(codes[None], axis=0, bitorder="little")
        for values, axis_bits in zip(rotated, bits, strict=True):
            is_certain = np.abs(values) > 1e-2  # zero is set whatever the sign of the axis
            assert is_certain.mean() > 0.98
            assert len(np.unique(axis_bits[is_certain] == (values[is_certain] > 0))) == 1


# What must not change it, and what must


@pytest.mark.parametrize("decorrelate", [False, True])
def test_brightness_and_contrast_change_no_code(decorrelate):
    darker = NOISE // 3
    brighter = 2 * darker + 40
    codes = lpq_codes(darker, window=5, decorrelate=decorrelate)
    assert (lpq_codes(brighter, window=5, decorrelate=decorrelate) == codes).all()
    assert (lpq_codes(255 - darker, window=5, decorrelate=decorrelate) == 255 - codes).all()


@pytest.mark.parametrize(("direction", "frequency"), DIRECTIONS)
@pytest.mark.parametrize(
    "blur",
    [
        pytest.param(lambda image: cv2.GaussianBlur(image, (0, 0), 1.2), id="Gaussian"),
        pytest.param(lambda image: cv2.blur(image, (5, 5)), id="box"),
    ],
)
def test_a_symmetric_blur_changes_no_phase_of_a_wave(blur, direction, frequency):
    sharp = as_image(wave_phases(direction))
    blurred = blur(sharp[0])[None]
    assert np.ptp(blurred) < 0.8 * np.ptp(sharp)
    # Beyond the blur's reach from the border, where it makes pixels up.
    inner = np.s_[0, 6:-6, 6:-6]
    before, after = (lpq_codes(p, window=7, decorrelate=False)[inner] for p in (sharp, blurred))
    # Rounding to whole greys leaves something at the other frequencies: only the own bits are looked at.
    assert ((before ^ after) & (3 * 4**frequency) == 0).all()


def test_textures_are_told_apart_in_spite_of_blur():
    """The paper's experiment: sharp patches are known, blurred ones are asked for."""
    textures = [data.brick(), data.grass(), data.gravel()]
    corners = [(row, column) for row in (0, 128, 256, 384) for column in (0, 128, 256, 384)]
    sharp, blurred = (
        np.stack([image[r : r + 128, c : c + 128] for image in images for r, c in corners])
        for images in (textures, [cv2.GaussianBlur(texture, (0, 0), 1.0) for texture in textures])
    )
    nearest = cdist(lpq(blurred), lpq(sharp), "cityblock").argmin(axis=1)
    assert (nearest // 16 == np.arange(48) // 16).mean() >= 0.95


def test_decorrelation_spreads_the_codes_of_a_photo(face):
    def entropy(histogram):
        used = histogram[histogram > 0]
        return -(used * np.log2(used)).sum()

    plain, decorrelated = (entropy(lpq(face[None], decorrelate=choice)[0]) for choice in (False, True))
    assert plain < decorrelated < 8


# Histograms and blocks


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_each_block_has_the_histogram_of_its_own_codes(grid):
    descriptors = lpq(NOISE, window=5, grid=grid)
    codes = lpq_codes(NOISE, window=5, decorrelate=True)  # 16 x 19

    assert descriptors.shape == (3, grid * grid * 256)
    assert descriptors.dtype == np.float32
    blocks = descriptors.reshape(3, grid, grid, 256)
    np.testing.assert_allclose(blocks.sum(axis=3), 1, atol=1e-6)
    for image, row, column in np.ndindex(3, grid, grid):
        rows = [y for y in range(16) if y * grid // 16 == row]
        columns = [x for x in range(19) if x * grid // 19 == column]
        block = codes[image][np.ix_(rows, columns)]
        expected = np.bincount(block.ravel(), minlength=256) / block.size
        np.testing.assert_allclose(blocks[image, row, column], expected, atol=1e-6)


def test_a_batch_is_the_images_one_by_one(face):
    """40 images of 96 x 96 are more than is filtered at a time."""
    rows, columns = np.random.default_rng(1).integers(200, size=(2, 40))
    images = np.stack([face[r : r + 96, c : c + 96] for r, c in zip(rows, columns, strict=True)])
    one_by_one = np.concatenate([lpq(image[None], grid=2) for image in images])
    assert (lpq(images, grid=2) == one_by_one).all()


def test_takes_views_what_cannot_be_written_and_nothing_at_all():
    fixed = NOISE.copy()
    fixed.flags.writeable = False
    assert (lpq(fixed) == lpq(NOISE)).all()
    assert (lpq(NOISE[:, ::-1, ::2]) == lpq(NOISE[:, ::-1, ::2].copy())).all()
    assert lpq(NOISE[:0], grid=2).shape == (0, 1024)


@pytest.mark.parametrize(
    ("images", "settings", "reason"),
    [
        pytest.param(NOISE, {"window": 4}, "window is 4: it must be odd", id="even window"),
        pytest.param(NOISE, {"window": 1}, "window is 1", id="window of one"),
        pytest.param(NOISE, {"grid": 0}, "grid is 0", id="no block"),
        pytest.param(NOISE, {"window": 21}, "20 x 23 are too small for LPQ .* 21", id="large window"),
        pytest.param(NOISE, {"grid": 15}, "it needs 21 x 21", id="blocks without a code"),
    ],
)
def test_unusable_settings_are_named(images, settings, reason):
    with pytest.raises(InputError, match=reason):
        lpq(images, **settings)


@pytest.mark.parametrize(
    "images",
    [pytest.param(NOISE[0], id="one image"), pytest.param(NOISE / 255, id="fractions")],
)
def test_only_stacks_of_grey_bytes_are_taken(images):
    with pytest.raises(ValueError, match="expected grey uint8 images"):
        lpq(images)
