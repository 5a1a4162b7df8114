"""Images as a few features: the first principal components of LPQ and of PHOG."""

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
"""Components of each descriptor, as in SFEW's published features (Markou, section 2.1)."""

NUM_FEATURES: Final = 2 * NUM_COMPONENTS


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Principal components and scaling, fitted on the train split, that turn images into features.

    Attributes:
        lpq: Components of local phase quantisation.
        phog: Components of the pyramid histogram of oriented gradients.
        scaling: Of the components, to mean 0 and deviation 1.
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
                f"the train split has {len(images)} images, and {NUM_COMPONENTS} components of a descriptor "
                f"need {NUM_COMPONENTS} or more; add images, or set data.descriptors=false"
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
    """Fit the first components; the largest entry of each axis is positive, so that signs are unique."""
    from sklearn.decomposition import PCA

    # Images that are all the same have no variance, of which scikit-learn computes each axis's share.
    with np.errstate(invalid="ignore"):
        return PCA(NUM_COMPONENTS, svd_solver="full").fit(descriptors.astype(np.float64))
