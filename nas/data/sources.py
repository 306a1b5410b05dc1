"""Places that samples come from, whatever their modality."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from nas.config import DataConfig
from search_spaces import InputError, MissingExtraError
from search_spaces.python_name import call, python_function

Array = npt.NDArray[Any]
Arrays = tuple[Array, ...]  # inputs, then targets
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Parts:
    """What a source holds: arrays by split, as they came."""

    arrays: Mapping[str, Arrays]
    class_names: Sequence[str] | None = None
    tokenizer: str | None = None


Source = Callable[[str, DataConfig, bool], Parts]  # what follows the colon, data, classification


def digits(_: str, __: DataConfig, ___: bool) -> Parts:
    """Read scikit-learn's handwritten digits: n x 8 x 8 uint8."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images * (255 / 16)).round().astype(np.uint8)  # published as 0..16
    return Parts({"train": (images, found.target.astype(np.int64))}, [str(i) for i in range(10)])


def npz_source(names: Sequence[str], optional: Sequence[str] = ()) -> Source:
    """Return a source that reads these arrays, in order, from a file of `numpy.savez`."""

    def read(rest: str, _: DataConfig, __: bool) -> Parts:
        wanted = " and ".join(names)
        try:
            with Path(rest).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = [n for n in names if n not in optional or n in file]
                return Parts({"train": tuple(file[name] for name in found)})
        except FileNotFoundError:
            raise InputError(f"npz:{rest}: no such file") from None
        except KeyError as error:
            raise InputError(f"npz:{rest}: expected arrays {wanted} ({error})") from None
        except (ValueError, OSError, EOFError, TypeError, BadZipFile, zlib.error) as error:
            reason = "" if "pickle" in str(error) else f" ({error})"
            raise InputError(
                f"npz:{rest}: expected a file of numpy.savez with arrays of numbers "
                f"{wanted}{reason}"
            ) from None

    return read


def npy(rest: str, _: DataConfig, __: bool) -> Parts:
    """Read train_x.npy and train_y.npy of a folder, and what is there of validation and test.

    The x are memory-mapped: what is larger than memory is read where it is needed, as long as the
    folder brings its own validation and test splits (those carved off training are copies).
    """
    folder = Path(rest)
    wanted = [s for s in SPLITS if s == "train" or any(folder.glob(f"{s}_[xy].npy"))]
    return Parts({s: tuple(_mapped(folder / f"{s}_{one}.npy") for one in "xy") for s in wanted})


def _mapped(path: Path) -> Array:
    """Return x as a private mapping, which can be written to without changing the file; y whole.

    Raises:
        InputError: absent, or no array of numbers.
    """
    mode: Literal["c"] | None = "c" if path.stem.endswith("x") else None
    try:
        found = np.load(path, mmap_mode=mode, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"npy:{path.parent}: expected train_x.npy and train_y.npy (and of validation and test "
            f"both or none), no {path.name}"
        ) from None
    except (ValueError, OSError, EOFError, OverflowError) as error:
        reason = "" if "ickle" in str(error) or "Python object" in str(error) else f" ({error})"
        raise InputError(f"{path}: expected a file of numpy.save with numbers{reason}") from None
    if not isinstance(found, np.ndarray):
        found.close()
        raise InputError(f"{path}: expected a file of numpy.save, got one of numpy.savez")
    return found


def python_source(noun: str, most_arrays: int = 2) -> Source:
    """Return a source that calls a user's function for one data set or a mapping of splits.

    Args:
        noun: what one sample is, in messages.
        most_arrays: inputs and targets that a tuple of arrays may hold.
    """

    def read(rest: str, _: DataConfig, __: bool) -> Parts:
        name = f"python:{rest}"
        data = call(name, python_function(name))
        parts = data if isinstance(data, Mapping) else {"train": data}
        if "train" not in parts or not set(parts) <= set(SPLITS):
            raise InputError(
                f"{name}: expected splits train (and validation, test), got {sorted(parts)}"
            )
        return Parts(
            {key: _as_arrays(part, rest, noun, most_arrays) for key, part in parts.items()}
        )

    return read


def _as_arrays(value: Any, source: str, noun: str, most_arrays: int) -> Arrays:
    """Turn a tuple of arrays, or a sequence of (sample, target), into arrays."""
    if isinstance(value, tuple) and 2 <= len(value) <= most_arrays:
        return tuple(np.asarray(one) for one in value)
    try:
        rows = [value[i] for i in range(len(value))]
        samples = np.stack([np.asarray(sample) for sample, _ in rows])
        return samples, np.stack([np.asarray(target) for _, target in rows])
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(
            f"python:{source}: expected ({noun}s, labels) or a sequence of ({noun}, label): {error}"
        ) from None


def hugging_face_source(builder: str) -> Source:
    """Return a source that reads images and labels by the Hugging Face library."""

    def read(rest: str, _: DataConfig, __: bool) -> Parts:
        return _hugging_face(builder, rest)

    return read


def _hugging_face(builder: str, rest: str) -> Parts:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(
            f"{builder}:{rest} needs Hugging Face datasets; pip install datasets pillow"
        ) from None
    if builder != "hub" and not Path(rest).exists():
        raise InputError(f"{builder}:{rest}: no such file or folder")
    try:
        loaded = _load_hugging_face(datasets, builder, rest)
    except (OSError, ValueError) as error:
        raise InputError(f"{builder}:{rest}: {str(error).splitlines()[0]}") from None
    parts: dict[str, Arrays] = {}
    names: Sequence[str] | None = None
    for key, split in loaded.items():
        if key not in SPLITS:
            continue
        image_column = next((c for c in ("image", "img") if c in split.column_names), None)
        if image_column is None or "label" not in split.column_names:
            raise InputError(
                f"{builder}:{rest}: expected columns image and label, got {split.column_names}"
            )
        names = getattr(split.features["label"], "names", None) or names
        split = split.cast_column(image_column, datasets.Image())
        parts[key] = (_stack(split[image_column], rest), np.asarray(split["label"]))
    if "train" not in parts:
        raise InputError(f"{builder}:{rest}: expected a train split, got {sorted(loaded)}")
    return Parts(parts, names)


def _load_hugging_face(datasets: Any, builder: str, rest: str) -> Any:
    if builder == "hub":
        return datasets.load_dataset(rest)
    path = Path(rest)
    if not path.exists():
        raise OSError("no such file or folder")
    if builder == "folder":
        return datasets.load_dataset("imagefolder", data_dir=str(path))
    files = {"train": path}
    if path.is_dir():
        files = {f.stem: f for f in path.glob("*.parquet") if f.stem in SPLITS}
    return datasets.load_dataset("parquet", data_files={k: str(f) for k, f in files.items()})


def _stack(images: Iterable[Any], source: str) -> Array:
    arrays = [
        np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")) for image in images
    ]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        raise InputError(f"{source}: expected images of one size, got {sorted(shapes)[:3]} ...")
    return np.stack(arrays)
