"""Activations and pools, which leave channels as they are."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from search_spaces.conversion.axes import (
    fix,
)
from search_spaces.conversion.graph import Value

if TYPE_CHECKING:
    from search_spaces.conversion.reader import Reader

Rule = Callable[..., Any]


def _activation(kind: str, *names: str) -> Callable[..., Value | None]:
    def rule(r: "Reader", x: Any, *given: Any, **keywords: Any) -> Value | None:
        value = r.value(x)
        settings = {**dict(zip(names, given, strict=False)), **keywords}
        return r.step(kind, [value], value.axes, settings)

    return rule


def _softmax(r: "Reader", x: Any, dim: int, *more: Any) -> Value | None:
    value = r.value(x)
    dim %= len(value.axes)
    fix([value.axes[dim]], f"{r.where()} runs over it")
    return r.step("softmax", [value], value.axes, {"dim": dim})


def _pool(kind: str, *names: str) -> Callable[..., Value | None]:
    def rule(r: "Reader", x: Any, *given: Any, **keywords: Any) -> Value | None:
        value = r.value(x)
        settings = {**dict(zip(names, given, strict=False)), **keywords}
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
        if settings.get("stride") == []:
            del settings["stride"]
        if kind.endswith("1d"):
            settings = {
                k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in settings.items()
            }
        return r.step(kind, [value], r.spatial(value), settings)

    return rule


def _upsample(mode: str) -> Callable[..., Value | None]:
    def rule(r: "Reader", x: Any, size: Any, *given: Any, **keywords: Any) -> Value | None:
        if str(r.node.target).split(".")[-1] != "vec":
            return None
        value = r.value(x)
        settings: dict[str, Any] = {"mode": mode}
        rest = list(given)
        if mode != "nearest":
            settings["align_corners"] = rest.pop(0) or None
        scale = keywords.get("scale_factors", rest[0] if rest else None)
        settings["size" if scale is None else "scale_factor"] = list(size if size else scale or ())
        return r.step("upsample", [value], r.spatial(value), settings)

    return rule


PLAIN_RULES: dict[str, Rule] = {
    **{
        name: _activation(name)
        for name in ("relu", "relu6", "sigmoid", "tanh", "hardswish", "hardsigmoid", "silu", "mish")
    },
    "gelu": _activation("gelu", "approximate"),
    "leaky_relu": _activation("leaky_relu", "negative_slope"),
    "elu": _activation("elu", "alpha"),
    "softplus": _activation("softplus", "beta", "threshold"),
    "hardtanh": _activation("hardtanh", "min_val", "max_val"),
    "softmax": _softmax,
    "max_pool1d": _pool("max_pool1d", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "max_pool2d": _pool("max_pool2d", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "avg_pool1d": _pool(
        "avg_pool1d", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"
    ),
    "avg_pool2d": _pool(
        "avg_pool2d",
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ),
    "adaptive_avg_pool1d": _pool("adaptive_avg_pool1d", "output_size"),
    "adaptive_avg_pool2d": _pool("adaptive_avg_pool2d", "output_size"),
    "upsample_nearest2d": _upsample("nearest"),
    "upsample_nearest1d": _upsample("nearest"),
    "upsample_bilinear2d": _upsample("bilinear"),
}
