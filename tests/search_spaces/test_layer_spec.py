import json

import numpy as np
import pytest

from search_spaces import SPACES, InputError, LayerSpec
from search_spaces.layer_spec import LAYER_KINDS
from tests.contracts.cached_spaces import cached_space

CONV = {
    "in_channels": 3,
    "height": 9,
    "width": 7,
    "out_channels": 4,
    "kernel": 3,
    "stride": 2,
    "activation": "relu",
}


def test_equal_layers_are_equal_values():
    first = LayerSpec.of("conv_norm", CONV)
    second = LayerSpec.of("conv_norm", dict(reversed(CONV.items())))
    assert first == second
    assert hash(first) == hash(second)
    assert first != LayerSpec.of("conv_norm", CONV | {"kernel": 5})


def test_fields_by_name():
    spec = LayerSpec.of("conv_norm", CONV)
    assert spec["stride"] == 2
    assert spec.values == CONV
    assert [one.shape for one in spec.inputs] == [(3, 9, 7)]


def test_json_round_trip():
    spec = LayerSpec.of("conv_norm", CONV)
    data = json.loads(json.dumps({"kind": spec.kind, "fields": spec.values}))
    assert LayerSpec.of(data["kind"], data["fields"]) == spec


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("conv_nrom", CONV, "unknown layer kind 'conv_nrom'; did you mean 'conv_norm'"),
        ("conv_norm", CONV | {"groups": 2}, "conv_norm: expected fields .* got .*groups"),
        ("conv_norm", {"kernel": 3}, "conv_norm: expected fields .*stride"),
        ("conv_norm", CONV | {"kernel": -3}, "expected kernel as an integer >= 1, got -3"),
        ("conv_norm", CONV | {"kernel": 3.0}, "expected kernel as an integer >= 1, got 3.0"),
        ("conv_norm", CONV | {"kernel": "3"}, "expected kernel as an integer >= 1, got '3'"),
        ("conv_norm", CONV | {"stride": True}, "expected stride as an integer >= 1, got True"),
        ("conv_norm", CONV | {"stride": None}, "expected stride as an integer >= 1, got None"),
        ("conv_norm", CONV | {"activation": 1}, "expected activation as a word, got 1"),
    ],
)
def test_faulty_specs_are_refused(kind, fields, message):
    with pytest.raises(InputError, match=message):
        LayerSpec.of(kind, fields)


@pytest.mark.parametrize(
    "name", ["in_channels", "height", "width", "out_channels", "kernel", "stride"]
)
def test_sizes_of_zero_are_refused(name):
    with pytest.raises(InputError, match=name):
        LayerSpec.of("conv_norm", CONV | {name: 0})


@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("formula", ["macs", "num_params", "peak_elements", "output_elements"])
def test_formulas_on_arrays_equal_formulas_on_numbers(kind, formula):
    specs = [
        spec for name in SPACES for spec in cached_space(name).layers.specs if spec.kind == kind
    ]
    columns = {name: np.array([spec[name] for spec in specs]) for name in LAYER_KINDS[kind].fields}
    compute = getattr(LAYER_KINDS[kind], formula)
    for settings in [()] if formula != "peak_elements" else [((False, False),), ((True, True),)]:
        found = np.broadcast_to(compute(columns, *settings), len(specs))
        assert found.tolist() == [int(compute(spec.values, *settings)) for spec in specs]
