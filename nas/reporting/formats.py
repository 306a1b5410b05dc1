"""How numbers read on screen: milliseconds, percent, bytes, with their units."""

from nas.results import metric_text

MISSING = "\N{EN DASH}"
MAX_PERCENT = 1000


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with some significant digits, without exponents at ordinary sizes."""
    if value is None:
        return MISSING
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def rank(value: float | None) -> str:
    """Return a rank correlation; a constant has none."""
    return MISSING if value is None else f"{value:.3f}"


def milliseconds(value: float | None) -> str:
    """Return a latency with its unit."""
    return MISSING if value is None else f"{number(value)} ms"


def budget(value_ms: float) -> str:
    """Return a budget as it was given, with its unit."""
    return f"{value_ms:.4g} ms"


def percent(share: float | None, decimals: int = 2) -> str:
    """Return a fraction as percent; a relative error of something near 0 is just called large."""
    if share is None:
        return MISSING
    if abs(share) * 100 > MAX_PERCENT:
        return f"over {MAX_PERCENT}%"
    return f"{share:.{decimals}%}"


def metric(value: float | None, name: str) -> str:
    """Return a value of a metric: accuracy in percent, others as numbers."""
    return MISSING if value is None else metric_text(name, value)


def cost(value: float | None, name: str) -> str:
    """Return an analytic cost or a limit on one, with the unit that its name tells."""
    if value is None:
        return MISSING
    return f"{value:,.0f} bytes" if name.endswith("bytes") else f"{value:,.0f}"


def setting(value: object) -> str:
    """Return a value of a recipe or an architecture as it is written there."""
    if value is None:
        return MISSING
    return str(value).lower() if isinstance(value, bool) else str(value)


def some(names: tuple[str, ...], limit: int = 20) -> str:
    """Return the first names of a list that may be very long."""
    rest = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
