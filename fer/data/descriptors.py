"""Image features: the first principal components of LPQ and of PHOG."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from fer.data.features import FeatureScaling
from fer.errors import InputError
from fer.features import lpq, phog

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

NUM_COMPONENTS: Final = 5
"""Principal components of each descriptor, as in SFEW's published features (Markou, section 2.1)."""

NUM_FEATURES: Final = 2 * NUM_COMPONENTS


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Principal components and scaling, fitted on the train split, that turn images into features.

    Attributes:
        lpq: PCA of local phase quantisation (LPQ).
        phog: PCA of the pyramid histogram of oriented gradients (PHOG).
        scaling: Scaling of the components to mean 0 and standard deviation 1.
    """

    lpq: "PCA"
    phog: "PCA"
    scaling: FeatureScaling

    @classmethod
    def fit(cls, images: NDArray[np.uint8]) -> Self:
        """Fit on the images of the train split, grey, shape (N, H, W).

        Raises:
            InputError: There are fewer images than components.
        """
        if len(images) < NUM_COMPONENTS:
            msg = (
                f"the train split has {len(images)} images, but data.descriptors needs {NUM_COMPONENTS} or "
                "more to fit its principal components; add images, or set data.descriptors=false"
            )
            raise InputError(msg)
        described = (lpq(images), phog(images))
        of_lpq, of_phog = (_fit_components(each) for each in described)
        unscaled = np.hstack((of_lpq.transform(described[0]), of_phog.transform(described[1])))
        return cls(of_lpq, of_phog, FeatureScaling.fit(unscaled, scale="column", clip=0))

    def transform(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of grey images (N, H, W), shape (N, 10)."""
        unscaled = np.hstack((self.lpq.transform(lpq(images)), self.phog.transform(phog(images))))
        return self.scaling.transform(unscaled)


def _fit_components(descriptors: NDArray[np.float32]) -> "PCA":
    """Fit the first components; scikit-learn makes the largest entry of each axis positive."""
    from sklearn.decomposition import PCA

    # If all images are the same, the variance is 0 and scikit-learn's share of it for each axis is 0 / 0.
    with np.errstate(invalid="ignore"):
        return PCA(NUM_COMPONENTS, svd_solver="full").fit(descriptors.astype(np.float64))
