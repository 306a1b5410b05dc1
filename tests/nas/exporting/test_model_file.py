"""Model files of other options, made from the plain one."""

import io
import json

import numpy as np
import onnx
import pytest
import torch

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.operators import OPERATORS
from nas.exporting.graph import check_graph
from nas.exporting.manifest import ImagePreprocessing, TokenPreprocessing
from nas.exporting.model_file import make_file, stamped
from nas.exporting.model_options import GREATEST_OPSET, LEAST_OPSET, PLAIN, ModelOptions
from nas.exporting.parity import ParityError, run_onnx
from nas.subnet.calibrate import calibrate
from search_spaces import InputError, build_space
from search_spaces.supernet import Supernet
from tests.contracts.inputs import random_inputs

TOKENS = TokenPreprocessing(length=16, vocabulary=100, tokenizer=None)


def images(size: int = 8) -> ImagePreprocessing:
    return ImagePreprocessing(height=size, width=size, channels=1, mean=(0.4,), std=(0.2,))


class Network:
    """A subnet of a family, its file and an answer."""

    def __init__(self, name: str, **settings: int) -> None:
        space = build_space(name, **settings)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            supernet = Supernet(space)
        architecture = space.decode(space.smallest()[0])
        self.subnet = supernet.extract(architecture)
        self.specs = supernet.inputs(architecture)
        vocabulary = space.settings.get("vocabulary", 0)
        self.inputs = random_inputs(self.specs, 8, 0, vocabulary)
        calibrate(self.subnet, [self.inputs])
        model = onnx_model(self.subnet, self.specs, {"space": space.name}, tuple(space.outputs))
        self.model = model.SerializeToString()
        self.arrays = {name: one.numpy() for name, one in zip(self.specs, self.inputs, strict=True)}
        with torch.no_grad():
            self.answer = self.subnet(*self.inputs).numpy()

    def differs_by(self, model: bytes) -> float:
        (found,) = run_onnx(model, self.arrays, 4).values()
        return float(np.abs(found - self.answer).max())


@pytest.fixture(scope="module")
def mobile() -> Network:
    return Network("mobilenet-digits")


@pytest.fixture(scope="module")
def text() -> Network:
    return Network("bert-mini", num_classes=3, vocabulary=100, length=16)


def made(network: Network, steps=None, size=(8, 8), **options) -> bytes:
    return make_file(network.model, ModelOptions(**options), steps or images(), size)[0]


# --- opsets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [LEAST_OPSET, 18, 21, GREATEST_OPSET])
def test_other_opsets_answer_alike(mobile, opset):
    data = made(mobile, opset=opset)
    model = onnx.load_from_string(data)
    assert [one.version for one in model.opset_import] == [opset]
    assert {entry.key: entry.value for entry in model.metadata_props}["space"]
    assert model.producer_name == "supernet-engine"
    assert mobile.differs_by(data) < 1e-5


def test_text_encoders_have_newer_opsets(text):
    assert text.differs_by(made(text, TOKENS, opset=20)) < 1e-5


def test_an_opset_that_lacks_an_operator_is_refused_with_its_name(text):
    with pytest.raises(InputError, match="LayerNormalization came later"):
        made(text, TOKENS, opset=LEAST_OPSET)


@pytest.mark.parametrize("opset", [1, LEAST_OPSET - 1, GREATEST_OPSET + 1, 99])
def test_opsets_outside_are_refused(opset):
    with pytest.raises(InputError, match=f"opset from {LEAST_OPSET} to {GREATEST_OPSET}.*{opset}"):
        ModelOptions(opset=opset)


# --- batches --------------------------------------------------------------------------------------


def test_a_fixed_batch_takes_no_other(mobile):
    data = made(mobile, batch=3)
    model = onnx.load_from_string(data)
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.shape.dim[0].dim_value == 3
    assert mobile.differs_by(data) < 1e-5, "8 samples are three batches, the last one filled up"


@pytest.mark.parametrize("batch", [0, -1, 1025])
def test_batches_outside_are_refused(batch):
    with pytest.raises(InputError, match="batch from 1 to 1024"):
        ModelOptions(batch=batch)


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [("format", "tflite", "onnx"), ("precision", "fp8", "fp32"), ("preprocessing", "in", "graph")],
)
def test_unknown_words_are_refused(name, value, hint):
    with pytest.raises(InputError, match=hint):
        ModelOptions(**{name: value})


def test_names_say_what_differs():
    assert PLAIN.file_name == "model.onnx"
    assert ModelOptions(format="ort").file_name == "model.ort"
    options = ModelOptions(preprocessing="graph", batch=4, opset=18)
    assert options.file_name == "model.pixels.batch4.opset18.onnx"


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (11, 5), (5, 24)])
def test_pixels_give_what_torch_gives(mobile, size):
    data = made(mobile, size=size, preprocessing="graph")
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (5, *size, 1), dtype=np.uint8)
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    tensor = (tensor / 255 - 0.4) / 0.2
    shape = mobile.specs["input"].shape[1:]
    tensor = torch.nn.functional.interpolate(tensor, shape, mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = mobile.subnet(tensor).numpy()
    (found,) = run_onnx(data, {"pixels": pixels}, 2).values()
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_pixels_are_of_images(text):
    with pytest.raises(InputError, match="tokens"):
        made(text, TOKENS, preprocessing="graph")


# --- ORT ------------------------------------------------------------------------------------------


def test_the_format_of_phones_answers_alike(mobile, text):
    for network, steps in ((mobile, images()), (text, TOKENS)):
        data = made(network, steps, format="ort")
        assert data[4:8] == b"ORTM"
        assert network.differs_by(data) < 1e-5


# --- what is no sound file ------------------------------------------------------------------------


def test_an_operator_that_is_not_listed_is_refused(mobile):
    model = onnx.load_from_string(mobile.model)
    last = model.graph.node[-1]
    last.op_type = "Softsign"
    with pytest.raises(ParityError, match="not on the list: Softsign"):
        check_graph(model.SerializeToString())
    model.producer_name = "pytorch"
    with pytest.raises(ParityError, match="Softsign"):
        check_graph(model.SerializeToString())
    assert "Softsign" in check_graph(model.SerializeToString(), "torch")
    model.producer_name = "somebody"
    with pytest.raises(ParityError, match="Softsign"):
        check_graph(model.SerializeToString(), "torch")


def test_operators_of_other_domains_are_named_with_them(mobile):
    model = onnx.load_from_string(mobile.model)
    model.graph.node[-1].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(ParityError, match=r"com\.example\.Identity"):
        check_graph(model.SerializeToString())


def test_what_families_emit_is_listed(mobile, text):
    for network in (mobile, text):
        assert set(check_graph(network.model)) <= OPERATORS


def test_properties_join_what_a_file_says(mobile):
    data = stamped(mobile.model, {"class_names": json.dumps(["a", "b"])})
    model = onnx.load(io.BytesIO(data))
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["class_names"]) == ["a", "b"]
    assert told["space"] == "mobilenet-digits@1"
    assert told["tool_version"]
