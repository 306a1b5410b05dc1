import dataclasses

import pytest

from search_spaces import Architecture, build_space


@pytest.fixture
def architecture():
    space = build_space("mobilenet-digits")
    return space.decode(space.smallest()[0])


def test_id_is_stable():
    choices = (("kernel", 3), ("width", 0.5), ("skip", True), ("operation", "none"))
    # Files carry it: another literal here orphans every artifact written before. Of the text
    # ["example@1",[["kernel",3],["width",0.5],["skip",true],["operation","none"]]] it is what
    # sha256sum says, cut to 10 digits.
    assert Architecture("example@1", choices).id == "273ec192f7"


def test_id_depends_on_space_and_choices():
    first = Architecture("a@1", (("kernel", 3),))
    assert first.id == Architecture("a@1", (("kernel", 3),)).id
    others = [
        Architecture("a@2", (("kernel", 3),)),
        Architecture("a@1", (("kernel", 5),)),
        Architecture("a@1", (("kernel", "3"),)),
        Architecture("a@1", (("width", 3),)),
        Architecture("a@1", ()),
    ]
    assert len({first.id, *(other.id for other in others)}) == 6
    assert len({first, *others}) == 6


def test_it_cannot_be_changed(architecture):
    with pytest.raises(dataclasses.FrozenInstanceError):
        architecture.space = "other@1"
    architecture.values["resolution"] = 99  # a copy
    assert architecture.values["resolution"] == 8


def test_json_holds_plain_data(architecture):
    data = architecture.to_json()
    assert set(data) == {"space", "id", "values"}
    assert data["space"] == "mobilenet-digits@1"
    assert data["values"] == dict(architecture.choices)
