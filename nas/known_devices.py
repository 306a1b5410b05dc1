"""What `nas devices` tells: known profiles, their targets, and how well they predict."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from hardware_profiles.profile import Profile
from hardware_profiles.store import profile_path, profile_paths
from nas.fitted_latency import FittedLatency, fit_latency
from nas.known_networks import profiled_space
from nas.known_targets import known_targets
from nas.progress import progress_bar
from predictors.predictor import ErrorReport
from search_spaces import InputError, SearchSpace


def describe_devices(name: str | None = None) -> list[dict[str, Any]]:
    """Describe every known profile, or one: target, what was measured, the predictor's error.

    A file that cannot be used is described by its `problem`.

    Raises:
        InputError: an unknown name.
    """
    names = list(profile_paths()) if name is None else [name]
    rows = []
    with progress_bar("devices", len(names)) as advance:
        for done, one in enumerate(names, start=1):
            try:
                profile = Profile.load(profile_path(one))
                rows.append({"name": one, **describe_device(profile)})
            except InputError as error:
                if name is not None:
                    raise
                rows.append({"name": one, "problem": str(error)})
            advance(done)
    return rows


def describe_device(profile: Profile) -> dict[str, Any]:
    """Describe a profile as plain data.

    Raises:
        InputError: it is of a space that is not in the catalogue, or too small to predict from.
    """
    space = profile_space(profile)
    fitted = fit_latency(space, profile, known=known_targets(space, profile))
    return {
        "space": profile.space,
        "options": {key: list(values) for key, values in profile.options.items()},
        "target": profile.target.model_dump(mode="json"),
        "created": profile.created,
        "tool_version": profile.tool_version,
        "layers": len(profile.layers),
        "subnets": len(profile.subnets),
        "missing": dict(profile.missing),
        "complete": profile.complete,
        "drift": profile.drift,
        "predictor": fitted.method,
        "reason": fitted.reason,
        "predictor_error": predictor_error(fitted),
    }


def profile_space(profile: Profile) -> SearchSpace:
    """Build the space of a profile as it was measured.

    Raises:
        InputError: the space is not in the catalogue, or has another version now.
    """
    space = profiled_space(profile.space, profile.space_settings)
    profile.check_space(space)
    return space


def predictor_error(fitted: FittedLatency) -> dict[str, Any]:
    """Return the stated error of a latency predictor beside its baselines."""
    return _error(fitted.report) | {
        "noise_floor": fitted.report.noise_floor,
        "baselines": {name: _error(other) for name, other in fitted.report.baselines.items()},
    }


def _error(report: ErrorReport) -> dict[str, Any]:
    names = {"mape", "within_5", "within_10", "spearman", "kendall", "n"}
    return report.model_dump(mode="json", include=names)


def devices_table(rows: list[dict[str, Any]]) -> Table:
    """Lay known profiles out, one a row."""
    table = Table(box=None, pad_edge=False)
    left = ("name", "space", "target", "predictor")
    for column in (*left, "MAPE", "in 5 %", "in 10 %", "Spearman", "n", "noise"):
        table.add_column(column, justify="left" if column in left else "right")
    for row in rows:
        if "problem" in row:
            table.add_row(escape(row["name"]), escape(row["problem"]))
            continue
        error, target = row["predictor_error"], row["target"]
        words = f"{target['device']}, {target['runtime']} {target['runtime_version']}"
        if target["provider"] not in ("CPUExecutionProvider", "eager"):
            words += f" {target['provider']}"
        setting = f"{target['precision']}, batch {target['batch_size']}"
        table.add_row(
            escape(row["name"] + ("" if row["complete"] else " (partial)")),
            escape(row["space"]),
            escape(f"{words}, {setting}, threads {target['threads']}"),
            row["predictor"],
            f"{error['mape']:.1%}",
            f"{error['within_5']:.0%}",
            f"{error['within_10']:.0%}",
            _number(error["spearman"]),
            str(error["n"]),
            "unknown" if error["noise_floor"] is None else f"{error['noise_floor']:.1%}",
        )
    return table


def device_table(row: dict[str, Any]) -> Table:
    """Lay one profile out: its target, and its predictor's error beside the baselines."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for key in ("name", "space", "created", "layers", "subnets"):
        table.add_row(key, escape(str(row[key])))
    for key, value in row["target"].items():
        if value not in ("", None):
            table.add_row(key.replace("_", " "), escape(str(value)))
    for key in ("options", "missing"):
        if row[key]:
            table.add_row(key, escape(str(row[key])))
    table.add_row("drift", "unknown" if row["drift"] is None else f"{row['drift']:.1%}")
    table.add_row("complete", "yes" if row["complete"] else "no: time ran out before every pass")
    table.add_row("predictor", escape(row["reason"] or row["predictor"]))
    error = row["predictor_error"]
    for name, one in {row["predictor"]: error, **error["baselines"]}.items():
        table.add_row(
            f"error of {name}" if one is error else f"  baseline {name}",
            f"MAPE {one['mape']:.1%}, within 5 % {one['within_5']:.0%}, within 10 % "
            f"{one['within_10']:.0%}, Spearman {_number(one['spearman'])}, "
            f"Kendall {_number(one['kendall'])}, n {one['n']}",
        )
    return table


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
