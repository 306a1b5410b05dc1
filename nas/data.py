"""Images and labels for training, validation and test: uint8 in memory, one fixed seeded split."""

import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from nas.config import DataConfig
from search_spaces import InputError, MissingExtraError, unknown_name

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True)
class Split:
    """n images and their labels."""

    images: Bytes  # n x c x h x w
    labels: Labels  # n

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.intp]) -> "Split":
        """Return the images at `index`."""
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class ImageData:
    """The three splits: training sees the first, search the second, the final table the third."""

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]  # per channel, of the training images scaled to 0..1
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def sha256(self) -> str:
        """Hash of all images and labels, split by split."""
        digest = sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(str(split.images.shape).encode())
            digest.update(split.images.tobytes())
            digest.update(split.labels.tobytes())
        return digest.hexdigest()

    @property
    def num_channels(self) -> int:
        """Channels of an image."""
        return int(self.train.images.shape[1])


def load_data(config: DataConfig, seed: int) -> ImageData:
    """Load, check and split a data set.

    Sources: `digits` (embedded: scikit-learn's handwritten digits), `npz:PATH` (`x` uint8 NHW or
    NHWC, `y`), `parquet:PATH` and `folder:PATH` and `hub:NAME` (Hugging Face `datasets`, columns
    `image` and `label`), `python:package.module:function` (returns one data set, or a mapping with
    `train` and perhaps `validation` and `test`; each a pair of arrays or a sequence of
    (image, label)).

    Raises:
        InputError: an unknown source, or data with one class, a wrong shape, NaN, or fewer
            samples than classes.
        MissingExtraError: Hugging Face `datasets` is needed and absent.
    """
    kind, _, rest = config.source.partition(":")
    if kind not in SOURCES:
        raise InputError(
            f"{unknown_name('data set', kind, SOURCES)} (forms: digits, npz:PATH, parquet:PATH, "
            "folder:PATH, hub:NAME, python:package.module:function)"
        )
    if kind != "digits" and not rest:
        raise InputError(f"expected a place after {kind}:, got {config.source!r}")
    parts, names = SOURCES[kind](rest)
    checked = {key: _check(pair[0], pair[1], config.source) for key, pair in parts.items()}
    return _split(checked, names, config, seed)


def _split(
    parts: Mapping[str, Split], names: Sequence[str] | None, config: DataConfig, seed: int
) -> ImageData:
    rng = np.random.default_rng([seed, 0x5EED])
    train, validation, test = parts["train"], parts.get("validation"), parts.get("test")
    if test is None:
        train, test = _carve(train, config.test_share, rng)
    if validation is None:
        share_left = 1.0 if "test" in parts else 1 - config.test_share
        train, validation = _carve(train, config.validation_share / share_left, rng)
    labels = np.concatenate([split.labels for split in (train, validation, test)])
    num_classes = max(int(labels.max()) + 1, len(names or ()))
    _check_classes(labels, num_classes, config.source)
    trained_classes = len(np.unique(train.labels))
    if trained_classes < num_classes or min(len(validation), len(test)) < 2:
        raise InputError(
            f"{config.source}: expected all classes in training and 2 or more validation and "
            f"test images, got {trained_classes} of {num_classes} classes, {len(validation)} "
            f"and {len(test)} images"
        )
    if {split.images.shape[1:] for split in (train, validation, test)} != {train.images.shape[1:]}:
        raise InputError(f"{config.source}: the splits hold images of different sizes")
    by_channel = train.images.transpose(1, 0, 2, 3).reshape(train.images.shape[1], -1)
    statistics = [_mean_and_std(channel) for channel in by_channel]
    return ImageData(
        train,
        validation,
        test,
        tuple(names) if names else tuple(str(i) for i in range(num_classes)),
        tuple(mean for mean, _ in statistics),
        tuple(max(std, 1e-3) for _, std in statistics),
    )


def _mean_and_std(channel: Bytes) -> tuple[float, float]:
    """Mean and standard deviation of bytes scaled to 0..1, from their histogram."""
    shares = np.bincount(channel, minlength=256) / channel.size
    levels = np.arange(256) / 255
    mean = float(shares @ levels)
    return mean, float(np.sqrt(shares @ (levels - mean) ** 2))


def _carve(split: Split, share: float, rng: np.random.Generator) -> tuple[Split, Split]:
    """Take `share` of every class away: (rest, taken)."""
    taken = np.zeros(len(split), dtype=np.bool_)
    for label in np.unique(split.labels):
        members = rng.permutation(np.flatnonzero(split.labels == label))
        taken[members[: max(1, round(len(members) * share))]] = True
    order = rng.permutation(len(split))
    return split.take(order[~taken[order]]), split.take(order[taken[order]])


def _check(images: npt.NDArray[Any], labels: npt.NDArray[Any], source: str) -> Split:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise InputError(
                f"{source}: images hold NaN or infinite values; expected uint8, 0 to 255"
            )
        raise InputError(f"{source}: expected images as uint8 (0 to 255), got {images.dtype}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"{source}: expected images n x height x width (x 1 or 3 channels), got {images.shape}"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{source}: expected one whole-number label for each of {len(images)} images, "
            f"got {labels.shape} {labels.dtype}"
        )
    if labels.min() < 0:
        raise InputError(f"{source}: labels must count from 0, got {labels.min()}")
    if labels.max() >= len(labels):
        raise InputError(
            f"{source}: {len(labels)} samples are fewer than {int(labels.max()) + 1} classes "
            "(the greatest label, counted from 0)"
        )
    return Split(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.astype(np.int64))


def _check_classes(labels: Labels, num_classes: int, source: str) -> None:
    counts = np.bincount(labels, minlength=num_classes)
    if num_classes < 2:
        raise InputError(f"{source}: expected at least 2 classes, got {num_classes}")
    if len(labels) < num_classes:
        raise InputError(f"{source}: {len(labels)} samples are fewer than {num_classes} classes")
    if counts.min() < 3:
        few = int(counts.argmin())
        raise InputError(
            f"{source}: class {few} has {counts[few]} samples; expected 3 or more of each of "
            f"{num_classes} classes, for training, validation and test"
        )


Parts = tuple[dict[str, Pair], Sequence[str] | None]


def _digits(_: str) -> Parts:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * (255 / 16)).round().astype(np.uint8)  # published as 0..16
    return {"train": (images, digits.target.astype(np.int64))}, [str(i) for i in range(10)]


def _npz(rest: str) -> Parts:
    path = Path(rest)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {"train": (file["x"], file["y"])}, None
    except FileNotFoundError:
        raise InputError(f"npz:{rest}: no such file") from None
    except KeyError as error:
        raise InputError(f"npz:{rest}: expected arrays x and y ({error})") from None
    except (ValueError, OSError, EOFError, TypeError, BadZipFile, zlib.error) as error:
        reason = "" if "pickle" in str(error) else f" ({error})"
        raise InputError(
            f"npz:{rest}: expected a file of numpy.savez with arrays of numbers x and y{reason}"
        ) from None


def _python(rest: str) -> Parts:
    module_name, _, function_name = rest.partition(":")
    sys.path.insert(0, "")  # a module beside the user counts, as under `python -m`
    try:
        function = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        raise InputError(
            f"python:{rest}: expected python:package.module:function that can be imported: {error}"
        ) from None
    finally:
        sys.path.remove("")
    try:
        data = function()
    except Exception as error:
        raise InputError(
            f"python:{rest}: the function raised {type(error).__name__}: {error}"
        ) from error
    parts = data if isinstance(data, Mapping) else {"train": data}
    if "train" not in parts or not set(parts) <= {"train", "validation", "test"}:
        raise InputError(
            f"python:{rest}: expected splits train (and validation, test), got {sorted(parts)}"
        )
    return {key: _as_pair(value, rest) for key, value in parts.items()}, None


def _as_pair(value: Any, source: str) -> Pair:
    """Turn a pair of arrays, or a sequence of (image, label), into arrays (images n x h x w x
    c).
    """
    if isinstance(value, tuple) and len(value) == 2:
        return np.asarray(value[0]), np.asarray(value[1])
    try:
        rows = [value[i] for i in range(len(value))]
        images = np.stack([np.asarray(image) for image, _ in rows])
        return images, np.asarray([int(label) for _, label in rows])
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(
            f"python:{source}: expected (images, labels) or a sequence of (image, label): {error}"
        ) from None


def _hugging_face(builder: str, rest: str) -> Parts:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(
            f"{builder}:{rest} needs Hugging Face datasets; pip install datasets pillow"
        ) from None
    try:
        loaded = _load_hugging_face(datasets, builder, rest)
    except (OSError, ValueError) as error:
        raise InputError(f"{builder}:{rest}: {str(error).splitlines()[0]}") from None
    parts: dict[str, Pair] = {}
    names: Sequence[str] | None = None
    for key, split in loaded.items():
        if key not in ("train", "validation", "test"):
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
    return parts, names


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
        files = {
            f.stem: f for f in path.glob("*.parquet") if f.stem in ("train", "validation", "test")
        }
    return datasets.load_dataset("parquet", data_files={k: str(f) for k, f in files.items()})


def _stack(images: Iterable[Any], source: str) -> Bytes:
    arrays = [
        np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")) for image in images
    ]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        raise InputError(f"{source}: expected images of one size, got {sorted(shapes)[:3]} ...")
    return np.stack(arrays)


SOURCES: dict[str, Any] = {
    "digits": _digits,
    "npz": _npz,
    "parquet": lambda rest: _hugging_face("parquet", rest),
    "folder": lambda rest: _hugging_face("folder", rest),
    "hub": lambda rest: _hugging_face("hub", rest),
    "python": _python,
}
