"""Kinds of layers as formulas (numpy, no torch); `layer_modules` holds the torch modules of the
same names.
"""

from search_spaces.layer_kind import LayerKind
from search_spaces.layer_kinds.cell import CELLS
from search_spaces.layer_kinds.classifier import CLASSIFIERS
from search_spaces.layer_kinds.convolution import CONVOLUTIONS
from search_spaces.layer_kinds.program import PROGRAMS
from search_spaces.layer_kinds.residual import RESIDUALS
from search_spaces.layer_kinds.sequence import SEQUENCES
from search_spaces.layer_kinds.transformer import TRANSFORMERS

LAYER_KINDS: dict[str, LayerKind] = {
    **CONVOLUTIONS,
    **CLASSIFIERS,
    **RESIDUALS,
    **CELLS,
    **TRANSFORMERS,
    **SEQUENCES,
    **PROGRAMS,
}
"""The catalogue: name -> formulas."""
