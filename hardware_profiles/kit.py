"""Profiles of devices that are elsewhere: a kit goes there, its result comes back."""

import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from hardware_profiles import profile_device
from hardware_profiles.artifact import (
    FORMAT,
    Frozen,
    content_hash,
    describe,
    file_hash,
    read_json,
    tool_version,
    write_atomic,
)
from hardware_profiles.plan import Plan, check_distinct
from hardware_profiles.profile import Milliseconds, Profile, Share, make_profile
from hardware_profiles.profile_device import (
    DAMAGED_ZIP,
    KIT_NAME,
    MODELS_NAME,
    checksum,
    too_noisy,
)
from hardware_profiles.target import Target
from hardware_profiles.workloads import workload
from search_spaces import InputError, SearchSpace

MAX_BYTES = 50_000_000
LONGEST_MS = 3_600_000.0  # an hour a run: no device is that slow, a wrong unit is
TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the same plan gives the same zip
README = """\
Times the networks of this kit on this device. Needs Python >= 3.8, numpy and onnxruntime:

    python profile_device.py --threads 1 --minutes 20

The minutes bound everything; the more there are, the steadier the figures. Ctrl-C keeps what was
measured, and the same command goes on. Bring back result.json and import it with

    nas profile import result.json
"""


class ResultItem(Frozen):
    """What the device says of one network."""

    id: str
    latency_ms: Annotated[Milliseconds, Field(lt=LONGEST_MS)]
    noise: Share
    disagreement: Share | None
    wall_ms: Annotated[Milliseconds, Field(lt=LONGEST_MS)]
    visits: Annotated[int, Field(ge=1, le=10**6)]
    resident_bytes: Annotated[int, Field(ge=0, le=10**13)] | None

    @model_validator(mode="after")
    def _plausible(self) -> "ResultItem":
        # the own time is at most the wall time, but for the clocks' reading; a busy core takes most
        if not 0.001 <= self.latency_ms / self.wall_ms <= 1.5:
            raise InputError(
                f"item {self.id!r}: {self.latency_ms} ms do not fit {self.wall_ms} ms of wall time"
            )
        return self


class KitResult(Frozen):
    """`result.json`, as a device writes it."""

    format: Literal[1]
    kind: Literal["kit-result"]
    kit: Plan
    kit_sha256: str
    target: Target
    created: str
    complete: bool
    drift: Share | None
    items: tuple[ResultItem, ...]
    sha256: str

    @model_validator(mode="after")
    def _of_its_kit(self) -> "KitResult":
        check_distinct(item.id for item in self.items)
        unknown = {item.id for item in self.items} - {item.id for item in self.kit.items}
        if unknown:
            raise InputError(f"item {min(unknown)!r} is not of its kit")
        return self


def write_kit(
    space: SearchSpace,
    plan: Plan,
    path: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Write a zip with the plan's networks, a manifest with their hashes, and the program.

    Raises:
        InputError: the zip would be larger than 50 MB.
    """
    models = BytesIO()
    items = []
    with zipfile.ZipFile(models, "w", zipfile.ZIP_DEFLATED) as archive:
        for done, item in enumerate(plan.items, start=1):
            data = workload(space, item).onnx()
            name = f"{item.id}.onnx"
            archive.writestr(_entry(name), data)
            digest = sha256(data).hexdigest()
            items.append(item.model_copy(update={"file": name, "sha256": digest}))
            progress(done)
    manifest = plan.model_copy(update={"items": tuple(items)})
    program = Path(profile_device.__file__)
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as kit:
        kit.writestr(_entry(KIT_NAME), manifest.to_bytes())
        # a zip in the zip: unpacked, the networks would fill a small device
        kit.writestr(_entry(MODELS_NAME, zipfile.ZIP_STORED), models.getvalue())
        kit.writestr(_entry(program.name), program.read_bytes())
        kit.writestr(_entry("README.txt"), README)
    if buffer.tell() > MAX_BYTES:
        raise InputError(
            f"the kit would be {buffer.tell() / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}; "
            "restrict it with --options, --max-specs or --subnets"
        )
    write_atomic(path, buffer.getvalue())


def _entry(name: str, compression: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, TIMESTAMP)
    entry.compress_type = compression
    entry.external_attr = 0o644 << 16
    return entry


def read_result(path: Path, kit: Path | None = None, accept_noise: bool = False) -> KitResult:
    """Read and check what a device brought back.

    Args:
        kit: the zip it must be a result of.

    Raises:
        InputError: damaged or edited, of another format, values that cannot be, items that are not
            of its kit or there twice, another kit's, or too noisy to be believed.
    """
    data = read_json(path)
    if not isinstance(data, dict) or data.get("kind") != "kit-result":
        raise InputError(f"{path}: expected the result.json of a kit")
    if data.get("format") != FORMAT:
        raise InputError(
            f"{path}: format {data.get('format')}; this is {tool_version()}, which reads "
            f"format {FORMAT}; make a new kit with `nas profile kit`"
        )
    if data.get("sha256") != checksum(data) or data.get("kit_sha256") != content_hash(
        data.get("kit")
    ):
        raise InputError(
            f"{path}: its checksum is wrong: it was changed after it was measured; copy it again"
        )
    try:
        result = KitResult.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error)}") from None
    if kit is not None and kit_hash(kit) != result.kit_sha256:
        raise InputError(f"{path} is a result of another kit than {kit}")
    noisy = None if accept_noise else too_noisy(result.items)
    if noisy is not None:
        raise InputError(f"{path}: {noisy}")
    return result


def kit_hash(path: Path) -> str:
    """Return the hash that names a kit.

    Raises:
        InputError: no zip, no kit, or names that point outside it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if PurePosixPath(name).name != name or name == ".." or set(name) & set("\\:"):
                    raise InputError(f"{path}: {name!r} points outside the kit; do not unpack it")
            if archive.getinfo(KIT_NAME).file_size > MAX_BYTES:
                raise InputError(f"{path}: its {KIT_NAME} is too large for one")
            return content_hash(json.loads(archive.read(KIT_NAME)))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except (*DAMAGED_ZIP, RecursionError) as error:
        raise InputError(f"{path} is no kit ({error}); make one with `nas profile kit`") from None


def result_profile(result: KitResult, space: SearchSpace, path: Path) -> Profile:
    """Make the profile of a device from its result, also of a part of it.

    Raises:
        InputError: the space has changed since, or nothing was measured.
    """
    result.kit.check_space(space)
    if not result.items:
        raise InputError(f"{path}: nothing was measured; run the kit longer")
    return make_profile(
        result.kit,
        result.target,
        {item.id: item for item in result.items},
        created=result.created,
        drift=result.drift,
        complete=result.complete,
        made_from={"kit": result.kit_sha256, "result": file_hash(path)},
    )
