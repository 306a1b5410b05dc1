import json

import numpy as np
import pytest

from nas.results import Front
from nas.run_directory import open_run
from nas.searching.known_architectures import find_architecture, known_architectures
from search_spaces import InputError


@pytest.fixture
def run(finished):
    return finished.open()


def test_ends_of_the_space(run):
    assert find_architecture(run, "smallest") == run.space.decode(run.space.smallest()[0])
    assert find_architecture(run, "largest") == run.space.decode(run.space.largest()[0])


def test_known_are_the_sampled_the_measured_and_the_front(run):
    known = known_architectures(run)
    logged = [*run.accuracy_samples.read(), *run.evaluations.read()]
    ids = {record["architecture_id"] for record in logged}
    front = Front.load(run.search_path / "front.json").members
    assert ids | {member.architecture_id for member in front} == set(known)
    assert all(architecture.id == id_ for id_, architecture in known.items())


def test_ids_and_their_beginnings(run):
    for id_, architecture in known_architectures(run).items():
        assert find_architecture(run, id_) == architecture
    id_, architecture = next(iter(known_architectures(run).items()))
    assert find_architecture(run, id_[:6]) == architecture


def test_an_ambiguous_beginning_names_the_candidates(copied):
    run, found = open_run(copied), {}
    for genome in run.space.sample(3000, np.random.default_rng(0)):
        architecture = run.space.decode(genome)
        twin = found.setdefault(architecture.id[:4], architecture)
        if twin != architecture:
            break
    else:
        pytest.fail("no two ids begin alike")
    for one in (twin, architecture):
        record = run.evaluations.read()[0]
        run.evaluations.append({**record, "architecture_id": one.id, "values": dict(one.values)})
    with pytest.raises(InputError, match="beginning") as error:
        find_architecture(run, architecture.id[:4])
    assert twin.id in str(error.value)
    assert architecture.id in str(error.value)


@pytest.mark.parametrize("length", [0, 1, 3])
def test_beginnings_that_are_too_short_are_refused(run, length):
    id_ = next(iter(known_architectures(run)))
    with pytest.raises(InputError, match="nearest"):
        find_architecture(run, id_[:length])


def test_unknown_names_show_the_nearest_ids(run):
    id_ = next(iter(known_architectures(run)))
    with pytest.raises(InputError, match="nearest") as error:
        find_architecture(run, id_[:-2] + "zz")
    assert id_ in str(error.value)


@pytest.mark.parametrize("wrapped", [True, False])
def test_json_files(run, tmp_path, wrapped):
    architecture = next(iter(known_architectures(run).values()))
    data = architecture.to_json() if wrapped else dict(architecture.values)
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(data))
    assert find_architecture(run, str(path)) == architecture


def test_the_file_of_an_exported_folder(finished, run):
    found = find_architecture(run, str(finished.folder / "architecture.json"))
    assert found.id == finished.result.winner.architecture_id


def test_text_forms(run):
    architecture = next(iter(known_architectures(run).values()))
    assert find_architecture(run, json.dumps(dict(architecture.values))) == architecture
    blocks = 3 * 3
    text = json.dumps({"ks": [3] * blocks, "e": [2] * blocks, "d": [1, 1, 1], "r": 8, "w": 0.5})
    assert find_architecture(run, text) == run.space.decode(run.space.smallest()[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"resolution": 9}', "resolution"),
        ('{"rsolution": 8}', "'resolution'"),
        ('{"resolution": 8}', "lacks"),
        ("{broken", "architecture of mobilenet-digits@1"),
    ],
)
def test_bad_values_are_refused(run, tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        find_architecture(run, text)
    path = tmp_path / "architecture.json"
    path.write_text(text)
    with pytest.raises(InputError):
        find_architecture(run, str(path))


@pytest.mark.parametrize("content", ["[1, 2]", "3", '{"values": [1]}', "", "null"])
def test_files_that_hold_no_architecture_are_refused(run, tmp_path, content):
    path = tmp_path / "architecture.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"architecture\.json"):
        find_architecture(run, str(path))


def test_an_architecture_of_another_space_is_refused(run, tmp_path):
    """Its values might all be options here too; its file says what it is of."""
    data = {**next(iter(known_architectures(run).values())).to_json(), "space": "other@1"}
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="other@1"):
        find_architecture(run, str(path))


@pytest.mark.parametrize("log", ["accuracy_samples.jsonl", "search/evaluations.jsonl"])
def test_a_foreign_record_names_its_file(copied, log):
    with (copied / log).open("a") as file:
        file.write('{"surprise": 1}\n')
    with pytest.raises(InputError, match=log.rpartition("/")[2]):
        find_architecture(open_run(copied), "abcd")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"kind": "front", "format": 1}'])
def test_a_damaged_front_names_its_file(copied, content):
    (copied / "search" / "front.json").write_text(content)
    with pytest.raises(InputError, match=r"front\.json"):
        find_architecture(open_run(copied), "abcd")
