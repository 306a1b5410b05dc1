"""A study of optuna that belongs to one space, in memory, in a journal file or in a database."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from hardware_profiles.artifact import content_hash
from nas.searching.searchers.searcher import SearcherSettings
from search_spaces import InputError, SearchSpace

SPACE, DIMENSIONS = "space", "dimensions"  # attributes of a study
CREATION_ROUNDS = 5  # of workers that create the tables of a database at the same moment
LOCK_SECONDS = 60  # to wait for another worker's write to SQLite


def open_study(
    space: SearchSpace, settings: SearcherSettings, sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    """Create the study of `settings`, or load it where it exists.

    Raises:
        InputError: a storage that cannot be opened or holds something else, or a study of another
            space or another number of objectives.
    """
    with _explained(settings.storage or "memory"), _no_announcements():
        study = optuna.create_study(
            storage=None if settings.storage is None else _open_storage(settings.storage),
            sampler=sampler,
            study_name=settings.study,
            directions=["minimize"] * settings.num_objectives,
            load_if_exists=True,
        )
    _check_same(study, space, settings)
    return study


def _check_same(study: optuna.Study, space: SearchSpace, settings: SearcherSettings) -> None:
    """Refuse a study of something else; sign one that is new."""
    own = {SPACE: space.name, DIMENSIONS: dimensions_hash(space)}
    known = study.user_attrs
    way_out = "; choose another name for the study, or another storage"
    where = f"the study {study.study_name!r} in {settings.storage}"
    if SPACE not in known and study.get_trials(deepcopy=False):
        raise InputError(f"{where} was not made by a search of this project{way_out}")
    if SPACE not in known:
        for key, value in own.items():
            study.set_user_attr(key, value)
    elif known[SPACE] != space.name:
        raise InputError(f"{where} is of {known[SPACE]}, this search is of {space.name}{way_out}")
    elif known.get(DIMENSIONS, own[DIMENSIONS]) != own[DIMENSIONS]:
        raise InputError(
            f"{where} is of {known[SPACE]} with other dimensions or options "
            f"({known[DIMENSIONS][:8]}) than it has now ({own[DIMENSIONS][:8]}){way_out}"
        )
    if len(study.directions) != settings.num_objectives:
        raise InputError(
            f"{where} has {len(study.directions)} objectives, this search has "
            f"{settings.num_objectives}{way_out}"
        )


def dimensions_hash(space: SearchSpace) -> str:
    """SHA-256 of the names, options and conditions of a space's dimensions, in their order."""
    rows: list[object] = []
    for dimension in space.dimensions:
        parent, activating = dimension.active_when or (None, frozenset())
        rows.append([dimension.name, dimension.options, parent, sorted(activating)])
    return content_hash(rows)


@contextmanager
def _explained(storage: str) -> Iterator[None]:
    """Turn what libraries raise on a bad storage into an error for users."""
    try:
        yield
    except (ImportError, SQLAlchemyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot keep a study in {storage}: {reason}; expected the path of a journal file in a "
            "folder that exists, or a URL such as sqlite:///study.db"
        ) from None
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{storage} holds lines that are not of a journal of studies ({error}); "
            "choose another file"
        ) from None


def _open_storage(storage: str) -> BaseStorage:
    """Open a database (with `://`) or a journal file."""
    return _database(storage) if "://" in storage else _journal(Path(storage))


def _database(url: str) -> BaseStorage:
    options = {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {}
    for _ in range(CREATION_ROUNDS - 1):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except (IntegrityError, OperationalError):
            continue  # another worker was in the middle of it
    return RDBStorage(url, engine_kwargs=options)


def _journal(path: Path) -> BaseStorage:
    lock = JournalFileSymlinkLock(str(path))
    backend = JournalFileBackend(str(path), lock)
    lock.acquire()
    try:
        _cut_torn_line(path)
    finally:
        lock.release()
    return JournalStorage(backend)


def _cut_torn_line(path: Path) -> None:
    """Drop what follows the last line end: a write that was interrupted, and would spoil the
    next.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    for line in content[:whole].splitlines()[-1:]:
        json.loads(line)  # optuna passes over a last line that it cannot read
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


@contextmanager
def _no_announcements() -> Iterator[None]:
    """Keep optuna from telling that a study was created; its warnings stay."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
