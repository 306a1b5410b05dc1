"""What a report tells, gathered from the files of a run; whatever is not there yet stays empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware_profiles.artifact import file_hash
from hardware_profiles.profile import Profile
from nas.config import OPTIONS, TaskConfig
from nas.exporting.manifest import MODEL_NAME
from nas.finetuning.audit import AUDIT_NAME, AuditReport
from nas.finetuning.fine_tuned import fine_tuned_records
from nas.finetuning.single_training import SingleTraining
from nas.reporting.predictor_facts import PredictorFacts, accuracy_facts, latency_facts
from nas.reporting.search_facts import (
    ChosenArchitecture,
    SearchFacts,
    chosen_architectures,
    latest_search,
    search_facts,
)
from nas.run_directory import Run
from nas.run_file import RunFile, StageState
from nas.searching.evaluations import Evaluations, MeasuredSubnet
from nas.training.checkpoint import read_state
from nas.training.metrics import Record, epoch_records, event_records
from search_spaces import build_space


@dataclass(frozen=True)
class TrainingFacts:
    """How far the supernet is, one record an epoch, and what happened."""

    records: Sequence[Record]
    events: Sequence[Record]
    settings: Mapping[str, Any]  # of the strategy
    epoch: int
    epochs: int
    supernet_sha256: str | None  # None: not trained to the end

    @property
    def done(self) -> bool:
        """Tell whether training has come to its end."""
        return self.supernet_sha256 is not None


@dataclass(frozen=True)
class Facts:
    """Everything a report tells."""

    path: Path
    file: RunFile
    stages: Mapping[str, StageState]
    training: TrainingFacts
    profile: Profile | None
    predictors: tuple[PredictorFacts, ...]
    searches: tuple[SearchFacts, ...]  # tightest budget first
    latest: SearchFacts | None
    measured: tuple[MeasuredSubnet, ...]  # of this supernet on this target
    chosen: tuple[ChosenArchitecture, ...]
    fine_tuned: tuple[SingleTraining, ...]  # of this supernet
    audits: tuple[AuditReport, ...]  # of this supernet
    dimensions: tuple[str, ...]  # of the chosen ones
    hashes: Mapping[str, str]  # SHA-256 by name

    @property
    def total_seconds(self) -> float:
        """Seconds of all stages."""
        return sum(stage.seconds for stage in self.stages.values())

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Names of the analytic costs of the chosen architectures."""
        return tuple(dict.fromkeys(name for chosen in self.chosen for name in chosen.costs))

    @property
    def recipe_sections(self) -> Mapping[str, Mapping[str, Any]]:
        """The recipe by section; what stands outside of any comes first."""
        recipe = self.file.recipe
        sections = {key: value for key, value in recipe.items() if isinstance(value, Mapping)}
        return {"run": {k: v for k, v in recipe.items() if k not in sections}, **sections}

    @property
    def task(self) -> TaskConfig:
        """What networks were trained for and judged by."""
        return TaskConfig.model_validate(self.file.recipe.get("task", {}))

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self.task.metric_name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, which exported subnets state."""
        manifests = [search.manifest for search in self.searches if search.manifest]
        return manifests[0].class_names if manifests else ()


def gather(run: Run) -> Facts:
    """Read what is there of a run.

    Raises:
        InputError: a file that is there is damaged.
    """
    training = _training(run)
    profile = Profile.load(run.profile_path) if run.profile_path.exists() else None
    accuracy, about_accuracy = accuracy_facts(run)
    about_latency = latency_facts(run, profile)
    hashes = _hashes(run, training)
    searches = search_facts(run, hashes, accuracy)
    chosen = chosen_architectures(run, searches)
    return Facts(
        path=run.path,
        file=RunFile.load(run.path / "run.json"),
        # without the stage that is writing this, so that the same run gives the same report
        stages={name: stage for name, stage in run.stages.items() if name != "report"},
        training=training,
        profile=profile,
        predictors=tuple(facts for facts in (about_accuracy, about_latency) if facts),
        searches=searches,
        latest=latest_search(run, searches),
        measured=_measured(run, training, profile),
        chosen=chosen,
        fine_tuned=tuple(
            record
            for record in fine_tuned_records(run)
            if record.supernet_sha256 == training.supernet_sha256
        ),
        audits=tuple(
            audit
            for audit in map(AuditReport.load, sorted(run.audit_path.glob(f"*/{AUDIT_NAME}")))
            if audit.supernet_sha256 == training.supernet_sha256
        ),
        dimensions=_dimensions(run, chosen),
        hashes=hashes | _model_hashes(searches),
    )


def _training(run: Run) -> TrainingFacts:
    epoch, epochs, sha256 = 0, run.recipe.training.epochs, None
    if run.checkpoint_path.exists():
        state = read_state(run.checkpoint_path)
        epoch, epochs = int(state["epoch"]), int(state["epochs"])
        sha256 = str(state["sha256"]) if epoch >= epochs else None
    records, settings = run.metrics.read(), _strategy_settings(run.recipe.training.model_dump())
    return TrainingFacts(
        epoch_records(records), event_records(records), settings, epoch, epochs, sha256
    )


def _strategy_settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a recipe's section says of its strategy, without what belongs to others."""
    named = ("strategy", "schedule", "distillation", "teachers", "dropout", "adaptive_dropout")
    settings = {name: training.get(name) for name in named}
    settings |= {
        name: training.get(name)
        for choice, takers in OPTIONS.items()
        for name in takers.get(str(training.get(choice)), {})
    }
    return {name: value for name, value in settings.items() if value not in (None, (), [])}


def _measured(
    run: Run, training: TrainingFacts, profile: Profile | None
) -> tuple[MeasuredSubnet, ...]:
    if training.supernet_sha256 is None or profile is None:
        return ()
    space = build_space(run.space_name)  # unlike `run.space`, needs no data
    log = Evaluations(run.evaluations, space, training.supernet_sha256, profile.target.id)
    return tuple(log.all())


def _dimensions(run: Run, chosen: Sequence[ChosenArchitecture]) -> tuple[str, ...]:
    """Name the dimensions that any chosen architecture has, in the order of the space."""
    used = dict.fromkeys(name for architecture in chosen for name in architecture.values)
    ordered = [d.name for d in build_space(run.space_name).dimensions if d.name in used]
    return tuple(dict.fromkeys([*ordered, *used]))


def _hashes(run: Run, training: TrainingFacts) -> dict[str, str]:
    """SHA-256 of what searches are made from, by the names they use."""
    hashes = {"supernet": training.supernet_sha256} if training.supernet_sha256 else {}
    files = {"profile": run.profile_path, "accuracy_samples": run.accuracy_samples.path}
    return hashes | {name: file_hash(path) for name, path in files.items() if path.exists()}


def _model_hashes(searches: Sequence[SearchFacts]) -> dict[str, str]:
    manifests = [search.manifest for search in searches if search.manifest]
    return {
        f"subnets/{manifest.architecture_id}/{MODEL_NAME}": manifest.files[MODEL_NAME]
        for manifest in manifests
        if MODEL_NAME in manifest.files
    }
