"""Options of engines: what they say of what they refuse."""

import re

import pytest
from pydantic import ValidationError

from hardware_profiles.runtimes.tensorrt_options import BatchRange, EngineOptions, engine_options
from search_spaces import InputError


def test_the_defaults_are_batch_1_on_this_machine_alone():
    options = EngineOptions()
    assert engine_options({}) == options
    assert options.batch == BatchRange.of(1)
    assert not options.version_compatible
    assert options.hardware_compatible == "none"
    assert options.timing_cache is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workspace_mb": 0}, "tensorrt: workspace_mb: .*greater than or equal to 1, got '0'"),
        ({"workspace_mb": 1 << 30}, "workspace_mb: .*less than or equal to 1048576"),
        ({"workspace_mb": "much"}, "workspace_mb: .*got 'much'"),
        ({"batch": {"least": 0}}, "batch: expected batch sizes 1 <= least .* got 0, 1, 1"),
        ({"batch": {"least": 4, "typical": 2, "most": 8}}, "got 4, 2, 8"),
        ({"batch": {"typical": 2}}, "got 1, 2, 1"),
        ({"batch": {"some": 2}}, "batch.some: Extra inputs"),
        ({"version_compatible": "perhaps"}, "version_compatible: .*got 'perhaps'"),
        ({"hardware_compatible": "ampere"}, "did you mean 'ampere-plus'"),
        ({"hardware_compatible": True}, "unknown hardware compatibility 'True'"),
        ({"fp16": True}, "fp16: Extra inputs are not permitted"),
    ],
)
def test_bad_options_are_named(settings, words):
    with pytest.raises(InputError, match=words):
        engine_options(settings)


def test_a_folder_is_no_timing_cache(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path} is a folder")):
        engine_options({"timing_cache": tmp_path})
    assert engine_options({"timing_cache": tmp_path / "new"}).timing_cache == tmp_path / "new"


@pytest.mark.parametrize(
    ("text", "sizes"), [("8", (8, 8, 8)), ("1,8,32", (1, 8, 32)), (" 1, 1 ,2", (1, 1, 2))]
)
def test_batch_ranges_are_read(text, sizes):
    batch = BatchRange.parse(text)
    assert (batch.least, batch.typical, batch.most) == sizes


@pytest.mark.parametrize("text", ["", "1,2", "a", "-1", "1,2,3,4", "1.5", "1,,2"])
def test_other_texts_are_refused(text):
    with pytest.raises(InputError, match="expected one batch size"):
        BatchRange.parse(text)


@pytest.mark.parametrize("text", ["0", "8,1,32", "1,32,8"])
def test_ranges_out_of_order_are_refused(text):
    with pytest.raises(InputError, match="1 <= least <= typical <= most"):
        BatchRange.parse(text)


def test_a_range_holds_its_ends():
    batch = BatchRange.parse("2,4,8")
    assert [size for size in range(10) if size in batch] == [2, 3, 4, 5, 6, 7, 8]
    assert str(batch) == "2 to 8, typically 4"
    assert str(BatchRange.of(4)) == "4"


def test_options_are_frozen_and_travel_as_json(tmp_path):
    options = engine_options({"batch": {"most": 4}, "timing_cache": tmp_path / "timings"})
    assert EngineOptions.model_validate_json(options.model_dump_json()) == options
    with pytest.raises(ValidationError, match="frozen"):
        options.workspace_mb = 1
