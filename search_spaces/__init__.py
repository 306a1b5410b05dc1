"""What can exist: spaces as data, layer specs and their costs, supernets. Importing this needs
numpy only.
"""

from search_spaces.architecture import Architecture
from search_spaces.catalogue import INPUT_SIZES, SPACES, build_space, space_modality
from search_spaces.errors import InfeasibleError, InputError, MissingExtraError, unknown_name
from search_spaces.layer_grid import Costs, LayerGrid
from search_spaces.layer_kind import TensorSpec
from search_spaces.layer_slot import LayerSlot, Selected
from search_spaces.layer_spec import LayerSpec
from search_spaces.space import Dimension, Population, SearchSpace

__all__ = [
    "INPUT_SIZES",
    "SPACES",
    "Architecture",
    "Costs",
    "Dimension",
    "InfeasibleError",
    "InputError",
    "LayerGrid",
    "LayerSlot",
    "LayerSpec",
    "MissingExtraError",
    "Population",
    "SearchSpace",
    "Selected",
    "TensorSpec",
    "build_space",
    "space_modality",
    "unknown_name",
]
