"""The commands about devices: measure, send a kit, import its result, list, compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.terminal import Json, print_json, print_rows, print_table
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from hardware_profiles.profile import Profile

profile_app = typer.Typer(
    help="Measure latencies, here or on a device elsewhere.\n\n"
    "Example: nas profile measure runs/first",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Options = Annotated[
    list[str] | None,
    typer.Option(
        "--options", metavar="DIMENSION=OPTION,...", help="Only this part: resolution=128,160."
    ),
]
MaxSpecs = Annotated[
    int, typer.Option(min=0, help="Layers to measure at most; 0: whole subnets only.")
]
Subnets = Annotated[int, typer.Option(min=5, help="Whole subnets to calibrate on.")]
HeldOut = Annotated[int, typer.Option(min=0, help="Whole subnets that state the error.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the subnets and of the order of visits.")]


@profile_app.command("measure")
def measure(
    context: typer.Context,
    space_or_run: Annotated[str, typer.Argument(metavar="SPACE|RUN")],
    out: Annotated[Path | None, typer.Option(help="File, instead of the known profiles.")] = None,
    name: Annotated[str | None, typer.Option(help="Name among the known profiles.")] = None,
    runtime: Annotated[
        str, typer.Option(help="onnxruntime, torch-cpu, torch-cuda or tensorrt.")
    ] = "onnxruntime",
    provider: Annotated[str, typer.Option(help="Of ONNX Runtime; its CPU one without.")] = "",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    batch_size: Annotated[int, typer.Option(min=1)] = 1,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    cores: Annotated[str, typer.Option(help="Pin the process to these: 2,3.")] = "",
    minutes: Annotated[float | None, typer.Option(help="Bound on everything.")] = None,
    passes: Annotated[int, typer.Option(min=2, help="Over all networks.")] = 3,
    options: Options = None,
    max_specs: MaxSpecs = 500,
    subnets: Subnets = 24,
    held_out: HeldOut = 16,
    seed: Seed = 0,
    accept_noise: Annotated[
        bool, typer.Option("--accept-noise", help="Make a profile of a noisy machine too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the layers of a space and some whole subnets on this machine.

    Ctrl-C keeps what was measured; the same command goes on. A run's profile is measured anew by
    its recipe; what follows from it follows with the next search.

    Example: nas profile measure mobilenet-v3 --options resolution=128,160 --threads 2
    """
    from nas.run_file import is_run

    if is_run(Path(space_or_run)):
        given = [
            name
            for name in context.params
            if name not in ("space_or_run", "as_json")
            and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
        ]
        if given:
            raise InputError(
                f"{space_or_run} is a run: its recipe says how it is measured, so no "
                + ", ".join("--" + name.replace("_", "-") for name in given)
            )
        from nas import pipeline
        from nas.run_directory import open_run

        run = open_run(space_or_run)
        profile, path = pipeline.profile(run, anew=True), run.profile_path
    else:
        _check_space(space_or_run)
        from nas.profiling import measure_known_profile

        settings = {
            "runtime": runtime,
            "provider": provider,
            "precision": precision,
            "batch_size": batch_size,
            "threads": threads,
            "cores": [part for part in cores.split(",") if part],
            "minutes": minutes,
            "passes": passes,
            "max_specs": max_specs,
            "num_calibration": subnets,
            "num_held_out": held_out,
            "accept_noise": accept_noise,
        }
        profile, path = measure_known_profile(
            space_or_run, settings, options or [], name=name, out=out, seed=seed
        )
    if as_json:
        print_json({"path": str(path), "target": profile.target.model_dump(mode="json")})
        return
    _show_profile(profile, _described(profile), err=True)
    typer.echo(path)


@profile_app.command("kit")
def kit(
    space: Annotated[str, typer.Argument(metavar="SPACE|RUN")],
    out: Annotated[Path, typer.Option(help="The zip.")],
    options: Options = None,
    max_specs: MaxSpecs = 500,
    subnets: Subnets = 24,
    held_out: HeldOut = 16,
    seed: Seed = 0,
) -> None:
    """Write a zip that profiles a device with Python >= 3.8, numpy and onnxruntime alone.

    Of a RUN it has the sizes of the run's data (the length of texts, say).

    There: unzip kit.zip; python profile_device.py --threads 1 --minutes 20. Bring back result.json.

    Example: nas profile kit mobilenet-v3 --options resolution=128,160 --out kit.zip
    """
    _check_space(space)
    from nas.profiling import make_kit

    settings = {"max_specs": max_specs, "num_calibration": subnets, "num_held_out": held_out}
    make_kit(space, settings, options or [], out, seed)
    typer.echo(f"{out}  {out.stat().st_size / 1e6:.1f} MB")


@profile_app.command("import")
def import_result(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="result.json of a kit.")],
    name: Annotated[str | None, typer.Option(help="Name among the known profiles.")] = None,
    kit: Annotated[Path | None, typer.Option(help="The kit it must be a result of.")] = None,
    space: Annotated[
        str | None,
        typer.Option(metavar="SPACE|RUN", help="Whose kit it was, for families of your own."),
    ] = None,
    accept_noise: Annotated[
        bool, typer.Option("--accept-noise", help="Import a noisy device's result too.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even where the known profile holds more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check what a kit measured and keep it as a profile.

    A result of a device that stopped half-way imports too, and what is missing is said.

    Example: nas profile import result.json --name living-room-pi
    """
    from nas.profiling import import_profile

    profile, path = import_profile(
        result, name, kit, space, accept_noise=accept_noise, replace=replace
    )
    described = {"name": path.stem, "path": str(path), **_described(profile)}
    if as_json:
        print_json(described)
        return
    print_rows([("profile", path.stem)])
    _show_profile(profile, described)


def _check_space(space_or_run: str) -> None:
    """Check what a kit or a profile is of, before anything is imported that takes seconds.

    Raises:
        InputError: neither a run nor a space.
    """
    from nas.run_file import is_run
    from search_spaces import SPACES, unknown_name
    from search_spaces.python_name import is_python_name

    if not (space_or_run in SPACES or is_python_name(space_or_run) or is_run(Path(space_or_run))):
        raise unknown_name("space", space_or_run, SPACES)


def _described(profile: "Profile") -> dict[str, Any]:
    """Describe a profile; one that is too partial to predict from by its `problem`."""
    from nas.known_devices import describe_device

    try:
        return describe_device(profile)
    except InputError as problem:
        return {"missing": dict(profile.missing), "problem": str(problem)}


def _show_profile(profile: "Profile", described: dict[str, Any], err: bool = False) -> None:
    missing = ", ".join(f"{n} {role}" for role, n in profile.missing.items()) or "nothing"
    noise = "unknown: most subnets were timed in one pass only"
    rows = [
        ("target", str(profile.target)),
        ("measured", f"{len(profile.layers)} layers, {len(profile.subnets)} subnets"),
        ("missing", missing.replace("_", " ")),
        ("noise", noise if profile.noise is None else f"{profile.noise:.1%}"),
    ]
    if "problem" in described:
        rows.append(("predictor", f"none: {described['problem']}"))
    else:
        error = described["predictor_error"]
        rows += [
            ("predictor", described["reason"] or described["predictor"]),
            ("error", f"MAPE {error['mape']:.1%} on {error['n']} unseen subnets"),
        ]
    print_rows(rows, err)


def devices(
    name: Annotated[str | None, typer.Argument(help="One profile, by name or file.")] = None,
    as_json: Json = False,
) -> None:
    """List known profiles with their targets and how well they predict; or one in detail.

    Example: nas devices
    """
    if name is not None:
        from hardware_profiles.store import profile_path

        profile_path(name)  # before what takes seconds to import
    from nas.known_devices import describe_devices, device_table, devices_table

    rows = describe_devices(name)
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("no profiles yet; make one with nas profile measure SPACE")
    else:
        print_table(devices_table(rows) if name is None else device_table(rows[0]))


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A known profile, or its file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another of the same space.")],
    out: Annotated[Path | None, typer.Option(help="The plot; compare-A-B.svg without.")] = None,
    as_json: Json = False,
) -> None:
    """Tell how alike two devices rank the architectures of a space: can one net serve both?

    Example: nas compare server-1t server-2t
    """
    from hardware_profiles.store import profile_path

    for name in (first, second):
        profile_path(name)  # before what takes seconds to import
    from nas.comparing import compare_devices, draw_comparison

    comparison = compare_devices(first, second)
    path = out or Path(f"compare-{Path(first).stem}-{Path(second).stem}.svg")
    draw_comparison(comparison, path)
    figures = comparison.to_json() | {"plot": str(path)}
    if as_json:
        print_json(figures)
        return
    rows = [("space", comparison.space)]
    for word in ("predicted", "measured"):
        one = figures[word]
        ranks = "too few in common"
        if one["spearman"] is not None:
            ranks = f"Spearman {one['spearman']:.3f}, Kendall {one['kendall']:.3f}"
        rows.append((f"{word} latency", f"{ranks}, n {one['n']}"))
    print_rows([*rows, ("plot", str(path))])
