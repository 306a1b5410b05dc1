"""Find an architecture by what a user calls it."""

from difflib import get_close_matches
from pathlib import Path

from hardware_profiles.artifact import read_json
from nas.finetuning.fine_tuned import trained_alone
from nas.results import Front
from nas.run_directory import Run
from nas.searching.evaluations import MeasuredSubnet
from nas.subnet.sample import AccuracySample
from search_spaces import Architecture, InputError

MIN_ID_LENGTH = 4


def find_architecture(run: Run, name: str) -> Architecture:
    """Return the architecture that `name` means in a run.

    `name` is "smallest", "largest", the id of an architecture the run has seen (or its first 4 or
    more digits), a JSON file (`architecture.json`), or the family's text form.

    Raises:
        InputError: nothing of that name, with the nearest known ids; or an ambiguous beginning.
    """
    if name in ("smallest", "largest"):
        genome = run.space.smallest() if name == "smallest" else run.space.largest()
        return run.space.decode(genome[0])
    if name.endswith(".json"):
        data = read_json(Path(name))
        values = data.get("values", data) if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(values, dict):
            raise InputError(f"{name}: expected an architecture as a JSON object")
        if data.get("space", run.space.name) != run.space.name:
            raise InputError(f"{name}: expected {run.space.name}, got {data['space']}")
        return run.space.architecture(values)
    if name.lstrip().startswith("{"):
        return run.space.parse(name)
    known = known_architectures(run)
    found = [id_ for id_ in known if len(name) >= MIN_ID_LENGTH and id_.startswith(name)]
    if len(found) == 1:
        return known[found[0]]
    if found:
        raise InputError(f"{name!r} is the beginning of {', '.join(found)}; give more of it")
    near = get_close_matches(name, [*known, "smallest", "largest"], n=3, cutoff=0.0)
    raise InputError(f"{run.path} knows no architecture {name!r}; nearest: {', '.join(near)}")


def known_architectures(run: Run) -> dict[str, Architecture]:
    """Return every architecture the run has sampled, measured, put on a front, fine-tuned or
    audited, by id.
    """
    values = [sample.values for sample in run.accuracy_samples.read_as(AccuracySample)]
    values += [measured.values for measured in run.evaluations.read_as(MeasuredSubnet)]
    values += [record.values for record in trained_alone(run)]
    front = run.search_path / "front.json"
    if front.exists():
        values += [member.values for member in Front.load(front).members]
    architectures = [run.space.architecture(value) for value in values]
    return {architecture.id: architecture for architecture in architectures}
