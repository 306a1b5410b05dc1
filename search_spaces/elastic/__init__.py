"""Elastic layers: shared weights and the rule by which layer specs take slices of them."""

from search_spaces.elastic.elastic_layer import ElasticLayer, distinct_weights
from search_spaces.elastic.grouped_layer import GROUPED_LAYERS
from search_spaces.elastic.kernel_transform import KERNEL_TRANSFORMS
from search_spaces.elastic.selecting_layer import SELECTING_LAYERS

ELASTIC_LAYERS: dict[str, type[ElasticLayer]] = {**GROUPED_LAYERS, **SELECTING_LAYERS}
"""Kinds that share their weights otherwise than by leading slices; every other kind is a plain
`ElasticLayer`.
"""

__all__ = ["ELASTIC_LAYERS", "KERNEL_TRANSFORMS", "ElasticLayer", "distinct_weights"]
