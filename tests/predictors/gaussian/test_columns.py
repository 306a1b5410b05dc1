import numpy as np
import pytest

from predictors.gaussian.columns import MOST_COMPONENTS, ArchitectureColumns
from search_spaces import Dimension, SearchSpace, build_space


@pytest.mark.parametrize("name", ["nasbench201", "mobilenet-digits", "resnet-digits"])
def test_all_columns_belong_to_groups_and_have_like_scales(name):
    space = build_space(name)
    reference = space.sample(200, np.random.default_rng(0))
    columns = ArchitectureColumns(space, reference)
    seen = columns(reference)
    covered = set()
    for group in columns.groups:
        covered |= set(range(group.start, group.stop))
    assert covered == set(range(seen.shape[1]))
    assert np.isfinite(seen).all()
    assert np.abs(seen).max() < 30


def test_rows_do_not_depend_on_each_other():
    space = build_space("nasbench201")
    population = space.sample(50, np.random.default_rng(1))
    columns = ArchitectureColumns(space, population, lambda p: p[:, :4].astype(np.float64))
    np.testing.assert_allclose(columns(population)[7:9], columns(population[7:9]))


def test_a_space_without_layers_has_options_and_counts():
    space = SearchSpace("plain@1", [Dimension("a", (1, 2)), Dimension("b", (1,))])
    columns = ArchitectureColumns(space, space.all_architectures())
    assert np.isfinite(columns(space.all_architectures())).all()


def test_many_features_become_few_components_of_equal_spread():
    space = build_space("nasbench201")
    population = space.sample(300, np.random.default_rng(2))
    mixing = np.random.default_rng(3).normal(size=(6, 12))
    plain = ArchitectureColumns(space, population)(population).shape[1]
    features = lambda p: p @ mixing  # noqa: E731
    seen = ArchitectureColumns(space, population, features)(population)[:, plain:]
    assert seen.shape == (300, MOST_COMPONENTS)
    np.testing.assert_allclose(np.cov(seen.T, ddof=0), np.eye(MOST_COMPONENTS), atol=1e-9)
    one = ArchitectureColumns(space, population, lambda p: features(p)[:, :1])(population)
    assert one.shape[1] == plain + 1
