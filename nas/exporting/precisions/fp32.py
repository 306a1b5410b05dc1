"""The model as it is."""

from nas.exporting.parity import Arrays
from nas.exporting.precisions.conversion import Converted, Settings, load_float_model


def to_fp32(model: bytes, samples: Arrays, settings: Settings) -> Converted:
    """Return the very bytes, checked; samples and settings are not looked at.

    Raises:
        InputError: no fp32 model.
    """
    load_float_model(model)
    return Converted("fp32", model)
