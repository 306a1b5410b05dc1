"""What cannot be made elastic is refused in one line that says why; what merely stays says so."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import InputError
from search_spaces.conversion.elasticize import Elastic, elasticize
from tests.search_spaces.conversion.converted import converted
from tests.search_spaces.conversion.networks import NETWORKS, seeded

INPUTS = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Written(nn.Module):
    """A network of two layers whose forward pass is a function of the test."""

    def __init__(self, function: Callable[..., object], **buffers: Tensor) -> None:
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self, *inputs)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def assert_refused(model: object, example: object = INPUTS, *, words: str, **settings) -> None:
    """Refused in one line that holds `words`, a pattern."""
    with pytest.raises(InputError, match=words) as error:
        elasticize(model, example, **settings)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def line_of(words: str) -> str:
    """Where some code first stands in this file, as file:line."""
    lines = Path(__file__).read_text().splitlines()
    return f"{__file__}:{1 + next(i for i, line in enumerate(lines) if words in line)}"


# --- forward passes -------------------------------------------------------------------------------


def decides_on_values(self, x):
    hidden = self.first(x)
    if hidden.sum() > 0:
        hidden = -hidden
    return self.last(hidden)


def takes_an_item(self, x):
    return self.last(self.first(x)) * float(self.first(x).mean())


def leaves_torch(self, x):
    return self.last(torch.from_numpy(self.first(x).detach().numpy()))


def counts_calls(self, x):
    self.calls.add_(1)
    return self.last(self.first(x))


def keeps_a_mean(self, x):
    self.calls = self.calls * 0.9 + 0.1 * x.mean()
    return self.last(self.first(x)) - self.calls


def drops_always(self, x):
    return self.last(F.dropout(self.first(x), 0.5)) + self.last(self.first(x))


def adds_noise(self, x):
    return self.last(self.first(x) + torch.randn(16))


@pytest.mark.parametrize(
    ("function", "code", "reason"),
    [
        (decides_on_values, "if hidden.sum() > 0:", "depends on the values of a tensor"),
        (takes_an_item, "* float(self", "depends on the values of a tensor"),
        (leaves_torch, "torch.from_numpy", r"RuntimeError: .*numpy"),
    ],
)
def test_what_cannot_be_traced_is_shown_with_its_line(function, code, reason, capfd):
    with pytest.raises(InputError, match="cannot be traced at") as error:
        elasticize(Written(function), INPUTS)
    assert f"{line_of(code)} (" in str(error.value)
    assert code in str(error.value)
    assert re.search(reason, str(error.value))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", ""), "torch logs nothing beside"


@pytest.mark.parametrize("function", [counts_calls, keeps_a_mean])
def test_a_buffer_that_changes_is_named(function):
    model = Written(function, calls=torch.zeros(()))
    assert_refused(model, words="the network changes calls as it runs")


@pytest.mark.parametrize("function", [drops_always, adds_noise])
def test_random_numbers_are_refused(function):
    assert_refused(Written(function), words="answers otherwise once it is traced.*random numbers")


def test_the_size_of_the_batch_is_no_number_to_count_with():
    model = Written(lambda self, x: self.last(self.first(x)) / x.shape[0])
    assert_refused(model, words="answers otherwise.*size of the batch")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda self, x: self.last(self.first(x)[-1:] + self.first(x)), "last samples of a batch"),
        (lambda self, x: self.last(self.first(x)[-1] + self.first(x)), "last samples of a batch"),
        (lambda self, x: self.last(self.first(x)).mean(0), "outputs with an axis of the batch"),
        (lambda self, x: self.last(self.first(x)).mean(), "outputs with an axis of the batch"),
        (lambda self, x: (self.last(self.first(x)), [x * 2]), "a tuple or a dict.*nested"),
        (lambda self, x: (self.last(self.first(x)), 3), "returns tensors it computed"),
        (lambda self, x: None, "returns tensors it computed"),
        (lambda self, x: x, "returns tensors it computed"),
        (
            lambda self, x: self.last(self.first(x)).argmax(1),
            r"outputs of float32, got torch\.int64",
        ),
        (lambda self, x: self.last(self.first(x)) > 0, r"outputs of float32, got torch\.bool"),
        (lambda self, x: self.last(self.first(x).topk(16).values), "topk.*gives several"),
    ],
)
def test_other_results_than_batches_of_numbers_are_refused(function, words):
    assert_refused(Written(function), words=words)


def test_recurrent_layers_are_named():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.last = nn.LSTM(6, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.cells(x)[0][:, -1])

    place = rf"in cells at {re.escape(line_of('self.last(self.cells(x)'))} \(return self"
    words = f"{place}.* cannot be made elastic"
    assert_refused(Recurrent(), torch.randn(2, 5, 6), words=words)


def test_an_input_that_nothing_reads_is_refused():
    model = Written(lambda self, x, y: self.last(self.first(x)))
    assert_refused(model, (INPUTS, INPUTS), words="does not read input 2")


def test_writing_over_its_own_input_is_no_state():
    """As `nn.ReLU(inplace=True)` at the beginning does; subnets leave their inputs alone."""
    model = Written(lambda self, x: self.last(self.first(x.mul_(2))))
    elastic = elasticize(model, INPUTS.clone())
    given = INPUTS.clone()
    largest = elastic.space.decode(elastic.space.largest()[0])
    with torch.no_grad():
        expected = model(INPUTS.clone())
        assert torch.equal(elastic.supernet.extract(largest).eval()(given), expected)
    assert torch.equal(given, INPUTS)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: self.last(self.first(x).chunk(1, 1)[0]),
        lambda self, x: self.last(self.first(x).split(16, 1)[0]),
    ],
)
def test_a_tensor_that_is_cut_into_one_part_is_itself(function):
    assert [d.name for d in elasticize(Written(function), INPUTS).space.dimensions] == [
        "first.width"
    ]


# --- models ---------------------------------------------------------------------------------------


def with_hook(register: str) -> nn.Module:
    model = plain()
    getattr(model[0], register)(lambda *given: None)
    return model


@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"],
)
def test_hooks_are_refused(register):
    assert_refused(with_hook(register), words="0 has hooks, which no subnet would keep")


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_parametrizations_are_refused(name):
    model = plain()
    getattr(nn.utils.parametrizations, name)(model[0])
    assert_refused(model, words="0 has parametrizations.*remove_parametrizations")


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "double"])
def test_other_numbers_than_float32_are_refused(dtype):
    assert_refused(getattr(plain(), dtype)(), words=r"0\.weight is torch\..*model\.float\(\)")


def test_a_model_without_values_is_refused():
    assert_refused(plain().to("meta"), words=r"0\.weight has no values .*meta device")


def test_something_else_than_a_module_is_refused():
    assert_refused(lambda x: x, words="expected a torch module, got function")


# --- example inputs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (None, "expected an example input: .*got NoneType"),
        ((), "expected an example input: .*got nothing"),
        ([INPUTS], "expected an example input: .*got list"),
        (INPUTS[0], r"n x \.\.\. .*got \(6,\)"),
        (INPUTS[:0], r"n x \.\.\. .*got \(0, 6\)"),
        (INPUTS.double(), "float32 .*got .*torch.float64"),
        ((INPUTS * 9).byte(), "float32 .*got .*torch.uint8"),
        (torch.randn(2, 7), r"does not take the example input \(\(2, 7\)\): RuntimeError: mat1"),
        ((INPUTS * 9).long(), "does not take the example input"),
        ((INPUTS, INPUTS), r"does not take the example input \(\(2, 6\), \(2, 6\)\): TypeError"),
        (torch.randn(2, 1009), r"multiples of 1009, .*\(2, 1009\)"),
    ],
)
def test_other_examples_are_refused(example, words):
    assert_refused(plain(), example, words=words)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fixed": ["layer9*"]}, r"fixed: 'layer9\*' is no module of the network; it has 0, 1, 2"),
        ({"options": {"9.*": [0.5]}}, r"options for 9\.\*: no such dimension; 0\.width"),
        ({"options": {"0.width": [1.5]}}, r"0\.width: expected shares above 0 and up to 1"),
        ({"widths": [0, 1]}, "widths: expected shares above 0 and up to 1"),
        ({"widths": [2]}, "widths: expected shares above 0 and up to 1"),
        ({"widths": [float("nan")]}, "widths: expected shares above 0 and up to 1"),
        ({"widths": ["half"]}, "widths: expected shares of whole widths"),
        ({"widths": []}, "nothing of sequential can be chosen: one option only"),
        ({"fixed": ["*"]}, "nothing of sequential can be chosen: named as fixed"),
    ],
)
def test_other_settings_are_refused(settings, words):
    assert_refused(plain(), words=words, **settings)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Linear(6, 3), "the size of an output"),
        (nn.ReLU(), "no weights"),
        (nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)), "only 5 wide"),
    ],
)
def test_a_network_with_nothing_to_choose_says_why(model, reason):
    assert_refused(model, words=f"nothing of [a-z]+ can be chosen: .*{reason}")


# --- what stays, and what is otherwise ------------------------------------------------------------


def reasons(elastic: Elastic) -> dict[str, str]:
    return {stay.name: stay.reason for stay in elastic.stays}


def test_groups_that_cannot_shrink_together_stay_and_say_so():
    """Eight groups of three channels are then read as three groups of eight."""
    conv = partial(nn.Conv2d, kernel_size=1)
    model = nn.Sequential(
        conv(3, 24), conv(24, 24, groups=8), conv(24, 24, groups=3), conv(24, 16), conv(16, 3)
    )
    elastic = elasticize(model, IMAGES)
    assert reasons(elastic)["0"] == reasons(elastic)["1"] == "the groups of conv2d in 1"
    assert "3.width" in {d.name for d in elastic.space.dimensions}


def test_odd_channels_are_rounded_to_what_there_is():
    model = nn.Sequential(
        nn.Linear(6, 13), nn.ReLU(), nn.Linear(13, 29), nn.ReLU(), nn.Linear(29, 3)
    )
    options = [d.options for d in elasticize(model, INPUTS).space.dimensions]
    assert options == [(6, 10, 13), (16, 20, 29)]


def test_what_is_named_stays():
    elastic = elasticize(
        nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 24), nn.Linear(24, 3)),
        INPUTS,
        fixed=["2"],
    )
    assert [d.name for d in elastic.space.dimensions] == ["0.width"]
    assert reasons(elastic) == {"2": "named as fixed", "3": "the size of an output"}


def test_options_of_some_dimensions_are_theirs_alone():
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 32), nn.Linear(32, 3))
    elastic = elasticize(model, INPUTS, widths=[0.5], options={"2.*": [0.25, 0.75]})
    assert {d.name: d.options for d in elastic.space.dimensions} == {
        "0.width": (32, 64),
        "2.width": (8, 24, 32),
    }


def test_kernels_and_depths_may_be_kept():
    network, example = seeded(NETWORKS["mobilenet_v2"])
    elastic = elasticize(network, example, kernels=False, depths=False)
    nouns = {d.name.rpartition(".")[2] for d in elastic.space.dimensions}
    assert nouns == {"width"}


def test_tied_weights_are_noted():
    notes = converted("tied_weights").elastic.notes
    assert any(note.startswith("shared.weight is used 2 times: each place has") for note in notes)


def test_operations_without_a_rule_are_noted_and_named():
    elastic = converted("gates").elastic
    assert elastic.notes == ("kept as they are: aten.glu.default",)
    assert reasons(elastic)["first"] == "glu has no rule for its sizes"
