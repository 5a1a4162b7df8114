"""Images as a few features: the first principal components of LPQ and of PHOG."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from fer.data.features import FeatureScaling
from fer.features import Components, lpq, phog

NUM_COMPONENTS: Final = 5
"""Components of each descriptor, as in SFEW's published features (Markou, section 2.1)."""

NUM_FEATURES: Final = 2 * NUM_COMPONENTS


@dataclass(frozen=True, eq=False)
class Descriptors:
    """What was fitted on the train split, and turns images into features.

    Attributes:
        lpq: Components of local phase quantisation.
        phog: Components of the pyramid histogram of oriented gradients.
        scaling: Of their columns, to mean 0 and deviation 1.
    """

    lpq: Components
    phog: Components
    scaling: FeatureScaling

    @classmethod
    def fit(cls, images: NDArray[np.uint8]) -> Self:
        """Fit on the images of the train split, grey, shape (N, H, W).

        Raises:
            InputError: There are fewer images than components.
        """
        described = (lpq(images), phog(images))
        of_lpq, of_phog = (Components.fit(each, num_components=NUM_COMPONENTS) for each in described)
        unscaled = np.hstack((of_lpq.transform(described[0]), of_phog.transform(described[1])))
        return cls(of_lpq, of_phog, FeatureScaling.fit(unscaled, scale="column", clip=0))

    def transform(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of grey images (N, H, W), shape (N, 10)."""
        unscaled = np.hstack((self.lpq.transform(lpq(images)), self.phog.transform(phog(images))))
        return self.scaling.transform(unscaled)
