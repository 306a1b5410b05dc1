"""Random samples of the sizes that a space takes, where the data are not there."""

import numpy as np
import numpy.typing as npt

from nas.data.dataset import Dataset, Split
from search_spaces import SearchSpace

NUM_VALIDATION = 16  # samples, and of test


def generated_data(space: SearchSpace, modality: str, num_samples: int, seed: int) -> Dataset:
    """Return random samples for the largest architecture's inputs, and random classes.

    Args:
        modality: "image", "tokens" or "sequence".
        num_samples: of training.
    """
    rng = np.random.default_rng([seed, 0x9E4])
    shape = next(iter(space.layers.network(space.largest()).inputs.values())).shape
    num_classes = space.settings["num_classes"]
    vocabulary = space.settings.get("vocabulary", 0)

    def split(n: int) -> Split:
        inputs: tuple[npt.NDArray[np.generic], ...]
        if modality == "image":
            inputs = (rng.integers(0, 256, (n, *shape), dtype=np.uint8),)
        elif modality == "tokens":
            ids = rng.integers(0, vocabulary, (n, *shape), dtype=np.int32)
            inputs = (ids, np.ones((n, *shape), dtype=np.uint8))
        else:
            inputs = (rng.standard_normal((n, *shape), dtype=np.float32),)
        return Split(inputs, rng.integers(0, num_classes, n))

    features = 0 if modality == "tokens" else shape[0]
    return Dataset(
        split(num_samples),
        split(NUM_VALIDATION),
        split(NUM_VALIDATION),
        modality=modality,
        class_names=tuple(map(str, range(num_classes))),
        num_classes=num_classes,
        mean=(0.5,) * features,
        std=(0.25,) * features,
        vocabulary=vocabulary,
    )
