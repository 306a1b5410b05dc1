"""A latency for every layer spec of a space: measured ones from a profile, the rest by
regression.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold, cross_val_predict

from hardware_profiles.profile import Profile
from predictors.predictor import ErrorReport, Vector, error_report
from search_spaces import InputError, LayerSpec, SearchSpace


@dataclass(frozen=True)
class LayerTable:
    """Latency (ms) by spec position in `space.layers` (entry 0: no layer, 0 ms)."""

    latency_ms: Vector  # 1 + specs
    num_measured: int
    fill_error: (
        ErrorReport | None
    )  # of the regression, cross-validated; None where all are measured


def layer_table(space: SearchSpace, profile: Profile) -> LayerTable:
    """Look up the measured latency of every spec; fill the others from the spec's integers.

    Raises:
        InputError: the profile holds none of the space's layers.
    """
    profile.check_space(space)
    measured = {layer.spec: layer.latency_ms for layer in profile.layers}
    specs = space.layers.specs
    known = np.array([spec in measured for spec in specs], dtype=np.bool_)
    if not known.any():
        raise InputError(f"the profile holds no layer of {space.name}; make it anew")
    latency = np.zeros(1 + len(specs))
    latency[1:][known] = [measured[spec] for spec in specs if spec in measured]
    if known.all():
        return LayerTable(latency, int(known.sum()), None)
    features = _spec_features(space, specs)
    targets = np.log(latency[1:][known])
    model = ExtraTreesRegressor(n_estimators=200, random_state=0)
    num_known = int(known.sum())
    if num_known < 2:
        raise InputError(f"the profile holds {num_known} layer of {space.name}; make it anew")
    # shuffled: in their own order, a fold would be a whole stage of the network
    folds = KFold(min(5, num_known), shuffle=True, random_state=0)
    guess = np.exp(cross_val_predict(model, features[known], targets, cv=folds))
    model.fit(features[known], targets)
    latency[1:][~known] = np.exp(model.predict(features[~known]))
    return LayerTable(latency, num_known, error_report(guess, np.exp(targets)))


def _spec_features(space: SearchSpace, specs: tuple[LayerSpec, ...]) -> Vector:
    """Logs of costs and of every integer field, one column each, and a column for every kind and
    word (the operation of a cell's edge, say): specs x features.
    """
    names = sorted(
        {name for spec in specs for name, value in spec.fields if isinstance(value, int)}
    )
    fields = [[np.log1p(spec.values.get(name, 0)) for name in names] for spec in specs]
    said = [
        {spec.kind, *(pair for pair in spec.fields if isinstance(pair[1], str))} for spec in specs
    ]
    words = sorted(set().union(*said), key=str)
    which = [[float(word in one) for word in words] for one in said]
    return np.hstack([np.log1p(space.layers.spec_costs[1:]), np.array(fields), np.array(which)])
