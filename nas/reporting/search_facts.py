"""What the searches of a run found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.exporting.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from nas.fitted_predictors import FittedAccuracy
from nas.reporting.formats import budget
from nas.results import Front, SearchResult, WeightsKind
from nas.run_directory import Run

SOURCES = ("supernet", "profile", "accuracy_samples")  # what a search is made from, by its names
Values = Mapping[str, int | float | str | bool]


@dataclass(frozen=True)
class SearchFacts:
    """One search, and what it left in `subnets/`."""

    result: SearchResult
    stale: tuple[str, ...]  # sources that changed since: its predictions are of others
    model_path: str | None
    manifest: Manifest | None
    winner_loss: float | None  # predicted; the winner need not be on the predicted front

    @property
    def charted(self) -> bool:
        """Tell whether its latencies belong beside the run's own: made from its files as they are
        now, for its own device.
        """
        return not self.stale and self.result.device is None

    @property
    def other_weights(self) -> WeightsKind | None:
        """Kind of the weights in its folder, where they are not those that it was found with."""
        found = self.result.winner or self.result.candidate
        if found is None or self.manifest is None or self.manifest.weights == found.weights:
            return None
        return self.manifest.weights

    @property
    def architecture_id(self) -> str | None:
        """Id of the winner, else of the candidate or the closest miss."""
        chosen = self.result.winner or self.result.candidate or self.result.closest_miss
        return chosen.architecture_id if chosen else None

    @property
    def typical_ms(self) -> float | None:
        """Measured latency of the typical pass, which decides whether a budget is kept."""
        chosen = self.result.winner or self.result.closest_miss
        return chosen.measured_latency_ms * (1 + chosen.noise) if chosen else None


@dataclass(frozen=True)
class ChosenArchitecture:
    """A winner or a closest miss, under one budget or several."""

    architecture_id: str
    roles: tuple[str, ...]
    values: Values
    costs: Mapping[str, int]  # analytic; empty where no file states them


def search_facts(
    run: Run, hashes: Mapping[str, str], accuracy: FittedAccuracy | None
) -> tuple[SearchFacts, ...]:
    """Return every search of a run, tightest budget first.

    Args:
        hashes: of the run's `SOURCES` as they are now.
        accuracy: the accuracy predictor, if it is fitted.
    """
    results = [SearchResult.load(path) for path in (run.search_path / "budgets").glob("*.json")]
    results.sort(key=lambda result: (result.budget_ms, sorted(result.limits.items())))
    known = _known_values(run, results)
    return tuple(_search(run, result, hashes, accuracy, known) for result in results)


def _search(
    run: Run,
    result: SearchResult,
    hashes: Mapping[str, str],
    accuracy: FittedAccuracy | None,
    known: Mapping[str, Values],
) -> SearchFacts:
    own = [name for name in SOURCES if name != "profile" or result.device is None]
    stale = tuple(name for name in own if result.made_from.get(name) != hashes.get(name))
    found = result.winner or result.candidate
    if found is None:
        return SearchFacts(result, stale, None, None, None)
    folder = run.subnets_path / found.architecture_id
    here = folder / MODEL_NAME  # a run that was moved or copied has it beside the report
    manifest = folder / MANIFEST_NAME
    return SearchFacts(
        result=result,
        stale=stale,
        model_path=str(here) if here.is_file() else found.model_path,
        manifest=Manifest.load(manifest) if manifest.is_file() else None,
        winner_loss=None
        if stale
        else _predicted_loss(run, result, found.architecture_id, accuracy, known),
    )


def _predicted_loss(
    run: Run,
    result: SearchResult,
    architecture_id: str,
    accuracy: FittedAccuracy | None,
    known: Mapping[str, Values],
) -> float | None:
    for member in result.front:
        if member.architecture_id == architecture_id:
            return member.predicted.get(result.predicted_quantity)
    if accuracy is None or architecture_id not in known:
        return None
    genome = run.space.encode(run.space.architecture(known[architecture_id]))
    return float(accuracy.predictor.predict(genome).mean[0])


def latest_search(run: Run, searches: Sequence[SearchFacts]) -> SearchFacts | None:
    """Return the search whose front is in `front.json`, which every new search overwrites."""
    path = run.search_path / "front.json"
    if path.exists():
        front = Front.load(path)
        for search in searches:
            found = search.result
            if (found.budget_ms, found.front, found.made_from) == (
                front.budget_ms,
                front.members,
                front.made_from,
            ):
                return search
    return searches[-1] if searches else None


def chosen_architectures(
    run: Run, searches: Sequence[SearchFacts]
) -> tuple[ChosenArchitecture, ...]:
    """Return what was chosen or came closest, each architecture once."""
    known = _known_values(run, [search.result for search in searches])
    costs = {m.architecture_id: m.costs for s in searches for m in s.result.front}
    costs |= {s.manifest.architecture_id: s.manifest.costs for s in searches if s.manifest}
    roles: dict[str, list[str]] = {}
    for search in searches:
        if search.architecture_id is not None:
            role = "chosen for" if search.result.winner else "closest miss of"
            role = "candidate for" if search.result.candidate else role
            text = f"{role} {budget(search.result.budget_ms)}"
            roles.setdefault(search.architecture_id, []).append(text)
    return tuple(
        ChosenArchitecture(id_, tuple(dict.fromkeys(texts)), known[id_], costs.get(id_, {}))
        for id_, texts in roles.items()
        if id_ in known
    )


def _known_values(run: Run, results: Sequence[SearchResult]) -> dict[str, Values]:
    """Values by id of everything that was on a front or measured."""
    known: dict[str, Values] = {m.architecture_id: m.values for r in results for m in r.front}
    known.update({str(r["architecture_id"]): r["values"] for r in run.evaluations.read()})
    return known
