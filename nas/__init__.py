"""The engine: every stage of the pipeline as a function.

    import nas
    nas.run(out="runs/digits")
    nas.search("runs/digits", latency_ms=0.04)

Functions are loaded when first used, so that importing `nas` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.config import Recipe, load_recipe
    from nas.pipeline import (
        audit,
        create_run,
        dry_run,
        export,
        finetune,
        fit_predictors,
        import_weights,
        measure_accuracy,
        one_shot,
        profile,
        proxies,
        report,
        run,
        search,
        train,
        verify,
    )
    from nas.run_directory import Run, open_run
    from search_spaces.conversion.elasticize import elasticize

_HOMES = {
    "Recipe": "nas.config",
    "Run": "nas.run_directory",
    "audit": "nas.pipeline",
    "create_run": "nas.pipeline",
    "dry_run": "nas.pipeline",
    "elasticize": "search_spaces.conversion.elasticize",
    "export": "nas.pipeline",
    "finetune": "nas.pipeline",
    "fit_predictors": "nas.pipeline",
    "import_weights": "nas.pipeline",
    "load_recipe": "nas.config",
    "measure_accuracy": "nas.pipeline",
    "one_shot": "nas.pipeline",
    "open_run": "nas.run_directory",
    "profile": "nas.pipeline",
    "proxies": "nas.pipeline",
    "report": "nas.pipeline",
    "run": "nas.pipeline",
    "search": "nas.pipeline",
    "train": "nas.pipeline",
    "verify": "nas.pipeline",
}

__all__ = [
    "Recipe",
    "Run",
    "audit",
    "create_run",
    "dry_run",
    "elasticize",
    "export",
    "finetune",
    "fit_predictors",
    "import_weights",
    "load_recipe",
    "measure_accuracy",
    "one_shot",
    "open_run",
    "profile",
    "proxies",
    "report",
    "run",
    "search",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
