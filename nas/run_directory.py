"""One directory that holds everything a pipeline made."""

import fcntl
import json
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Literal

from hardware_profiles.artifact import tool_version, write_atomic
from nas.append_log import AppendLog
from nas.config import Recipe, differing_keys
from nas.data import Dataset, load_data
from nas.progress import say
from nas.run_file import RunFile, StageState, is_run, read_run_file
from nas.task import Task, make_task
from nas.trial import try_out
from search_spaces import InputError, SearchSpace, build_space, space_modality
from search_spaces.catalogue import FILE_PREFIX, is_file_name
from search_spaces.conversion.space_file import SPACE_NAME, WEIGHTS_NAME
from search_spaces.python_name import is_python_name, source_sha256

NETWORK_NAME = "network"
OLD_SUFFIX = ".old.tmp"  # of a folder that another is to take the place of


class Run:
    """A run directory: its recipe, its paths, its loaded data. Open it with `open_run` or
    `create_run_directory`.
    """

    def __init__(
        self, path: Path, recipe: Recipe, file: RunFile, data: Dataset | None = None
    ) -> None:
        self.path = path
        self.recipe = recipe
        self._file = file
        self._loaded = data  # which the run was just made with
        self._lock: IO[str] | None = None
        self.checkpoint_path = path / "supernet" / "checkpoint.safetensors"
        self.metrics = AppendLog(path / "supernet" / "metrics.jsonl")
        self.profile_path = path / "profile.json"
        self.predictors_path = path / "predictors"
        self.accuracy_samples = AppendLog(path / "accuracy_samples.jsonl")
        self.proxy_scores = AppendLog(path / "zero_cost.jsonl")
        self.search_path = path / "search"
        self.evaluations = AppendLog(path / "search" / "evaluations.jsonl")
        self.validations = AppendLog(path / "search" / "validations.jsonl")
        self.finetuned_path = path / "finetuned"
        self.audit_path = path / "audit"
        self.subnets_path = path / "subnets"
        self.report_path = path / "report.html"
        self.network_path = path / NETWORK_NAME  # where the space was made of one

    @cached_property
    def data(self) -> Dataset:
        """The data set, split.

        Raises:
            InputError: it is not the data that the run was made with.
        """
        if self._loaded is not None:
            return self._loaded
        data = load_recipe_data(self.recipe, self._file.modality)
        if data.sha256() != self.data_sha256:
            raise InputError(
                f"{self.recipe.data.source} has changed since {self.path} was made from it; "
                "bring the old data back or start another run (--out)"
            )
        return data

    @property
    def data_sha256(self) -> str:
        """Hash of the inputs and targets that the run was made with."""
        return self._file.data_sha256

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, for the classes and sizes of the data.

        Raises:
            InputError: its builder is not there, or its source has changed.
        """
        self._check_sources(self.recipe.space.name)
        return build_space(self.space_name, **self._file.settings)

    @property
    def space_name(self) -> str:
        """What `build_space` calls the space; of a network made elastic, the run's own copy."""
        folder = self.network_folder
        return self.recipe.space.name if folder is None else f"{FILE_PREFIX}{folder}"

    @property
    def network_folder(self) -> Path | None:
        """Where the network lies that the space was made of: the run's own copy, or what a run that
        is not written yet would copy; None for other spaces.
        """
        named = self.recipe.space.name
        if not is_file_name(named):
            return None
        source = Path(named.removeprefix(FILE_PREFIX))
        return self.network_path if self.network_path.exists() else source

    @cached_property
    def task(self) -> Task:
        """What networks are trained for and judged by.

        Raises:
            InputError: a function of the recipe is not there, or its source has changed.
        """
        self._check_sources(*self.recipe.task.functions)
        return make_task(self.recipe)

    def _check_sources(self, *names: str) -> None:
        recorded = self._file.functions
        for name in names:
            if name in recorded and source_sha256(name) != recorded[name]:
                raise InputError(
                    f"{name} has changed since {self.path} was made from it; "
                    "bring the old source back or start another run (--out)"
                )

    @property
    def file(self) -> RunFile:
        """What `run.json` holds."""
        return self._file

    @property
    def stages(self) -> Mapping[str, StageState]:
        """State and seconds by stage."""
        return self._file.stages

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record how long a stage takes and print a line when it is done. One process at a time.

        Interrupted work counts; a stage that finds its work done keeps the seconds it took then.
        """
        if self._lock is not None:
            raise AssertionError("stages do not nest")
        start = time.perf_counter()
        with self._locked(), torch_threads(self.recipe.threads):
            self._file = RunFile.load(self.path / "run.json")  # another process may have been here
            earlier = self.stages.get(name, StageState(state="running", seconds=0.0))
            self._record(name, "running", earlier.seconds)
            try:
                yield
            except BaseException:
                if earlier.state == "done":  # refused, say: what was done before stays done
                    self._record(name, "done", earlier.seconds)
                else:
                    self._record(name, "running", earlier.seconds + time.perf_counter() - start)
                raise
            seconds = time.perf_counter() - start
            before = earlier.seconds
            done_before = earlier.state == "done"
            self._record(name, "done", max(seconds, before) if done_before else seconds + before)
        say(f"{name:<11} {seconds:6.1f} s")

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Run PyTorch on the recipe's threads, as stages do; for processes beside the one that has
        the stage.
        """
        with torch_threads(self.recipe.threads):
            yield

    def _record(self, name: str, state: Literal["running", "done"], seconds: float) -> None:
        stage = StageState(state=state, seconds=round(seconds, 3))
        self._file = self._file.model_copy(update={"stages": {**self.stages, name: stage}})
        self._file.save(self.path / "run.json")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"{self.path}: another process is working on this run; wait for it or stop it"
                ) from None
            self._lock = lock
            self._remove_leftovers()
            try:
                yield
            finally:
                self._lock = None

    def _remove_leftovers(self) -> None:
        """Remove what a killed process had not finished writing, and bring back a folder that had
        left its name to a new one; the lock must be held.
        """
        for path in list(self.path.rglob(".*.tmp")):
            whole = path.with_name(path.name.removeprefix(".").removesuffix(OLD_SUFFIX))
            if path.name.endswith(OLD_SUFFIX) and not whole.exists():
                path.replace(whole)
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run PyTorch on so many threads (0: as many as it would take), and restore what was set."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def open_run(path: Path | str | Run) -> Run:
    """Open an existing run.

    Raises:
        InputError: no run there, or its files are damaged.
    """
    if isinstance(path, Run):
        return path
    path = Path(path)
    return Run(path, *read_run_file(path))


def create_run_directory(
    path: Path, recipe: Recipe, check_space: Callable[[SearchSpace], None] = lambda space: None
) -> Run:
    """Make a run directory, or open the one that is there if it was made from the same recipe.

    Args:
        check_space: raises where the space that follows from the data cannot be used, before
            anything is written.

    Raises:
        InputError: the directory holds a run of another recipe (the differing keys are named), or
            files that are no run; a bad task or bad data, or a space that fits neither.
    """
    dumped = json.loads(recipe.model_dump_json())
    if is_run(path):
        run = open_run(path)
        names = differing_keys(json.loads(run.recipe.model_dump_json()), dumped)
        if names:
            raise InputError(
                f"{path} holds a run of another recipe (it differs in {', '.join(names)}); "
                "choose another --out or delete it"
            )
        return run
    if path.exists() and not (path.is_dir() and only_leftovers(path)):
        raise InputError(f"{path} exists and is no run; choose another --out")
    # a bad task, bad data and what does not fit them are errors before anything is written
    task = make_task(recipe)
    data = load_recipe_data(recipe)
    run = unwritten_run(path, recipe, data, task, check_space)
    if is_file_name(recipe.space.name):
        copy_network(Path(recipe.space.name.removeprefix(FILE_PREFIX)), run.network_path)
    path.mkdir(parents=True, exist_ok=True)
    run.file.save(path / "run.json")
    return run


def unwritten_run(
    path: Path,
    recipe: Recipe,
    data: Dataset,
    task: Task,
    check_space: Callable[[SearchSpace], None] = lambda space: None,
) -> Run:
    """Return a new run that is checked, and of which nothing is on the disk yet.

    Raises:
        InputError: a space that does not fit the data or the task.
    """
    space = build_space(recipe.space.name, **data.settings)
    check_space(space)
    try_out(recipe, space, data, task)
    if is_file_name(recipe.space.name):
        _tell_scaling(space, data)
    file = RunFile(
        space=space.name,
        recipe=json.loads(recipe.model_dump_json()),
        seed=recipe.seed,
        versions=library_versions(),
        host=platform.node() or "unknown",
        git=_git_revision(),
        data_sha256=data.sha256(),
        modality=data.modality,
        settings=data.settings,
        num_samples=data.num_samples,
        functions=_sources(recipe),
    )
    return Run(path, recipe, file, data)


def _tell_scaling(space: SearchSpace, data: Dataset) -> None:
    """Say where images are scaled to the one size that a network of the user's own takes."""
    wanted = next(iter(space.layers.network(space.largest()).inputs.values())).shape
    found = data.train.inputs[0].shape
    if data.modality == "image" and found[-2:] != wanted[-2:]:
        here, there = (" x ".join(map(str, size[-2:])) for size in (found, wanted))
        say(f"            images of {here} are scaled to the {there} of the network's example")


def _sources(recipe: Recipe) -> dict[str, str]:
    """Hash the sources of the user's functions that make space and task (data have a hash)."""
    names = [name for name in (recipe.space.name,) if is_python_name(name)]
    hashes = {name: source_sha256(name) for name in (*names, *recipe.task.functions)}
    return {name: sha256 for name, sha256 in hashes.items() if sha256 is not None}


def load_recipe_data(recipe: Recipe, modality: str | None = None) -> Dataset:
    """Load the data of a recipe, of its space's modality unless another is given."""
    return load_data(
        recipe.data,
        recipe.seed,
        modality or space_modality(recipe.space.name),
        classification=recipe.task.classification,
        space=recipe.space.name,
    )


def copy_network(source: Path, target: Path) -> None:
    """Copy a folder that `nas elasticize` wrote, whole or not at all.

    Raises:
        InputError: a file of it is absent.
    """
    if target.exists() and source.exists() and source.samefile(target):
        return
    files = {}
    for name in (SPACE_NAME, WEIGHTS_NAME):
        try:
            files[name] = (source / name).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{source} holds no {name}; make it with `nas elasticize`") from None
    for name, content in files.items():
        write_atomic(target / name, content)


def only_leftovers(path: Path) -> bool:
    """Tell whether a folder holds nothing but what a killed process had begun to write."""
    return all(
        file.name == NETWORK_NAME or (file.name.startswith(".") and file.name.endswith(".tmp"))
        for file in path.iterdir()
    )


def library_versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    from importlib.metadata import version

    libraries = ("torch", "numpy", "scikit-learn", "pymoo", "onnx", "onnxruntime")
    return {
        "supernet-engine": tool_version(),
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


def _git_revision() -> str | None:
    """Revision of the source tree this runs from; None outside one."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
