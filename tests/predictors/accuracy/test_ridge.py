import numpy as np

from predictors.accuracy import ridge


def rows(n, f, seed=0):
    return np.random.default_rng(seed).normal(size=(n, f))


def test_held_out_guesses_equal_those_of_models_fitted_without_the_subnet(monkeypatch):
    x = rows(25, 6)
    y = x @ np.arange(6.0) + rows(25, 1, seed=1)[:, 0]
    monkeypatch.setattr(ridge, "STRENGTHS", np.array([0.3]))
    line = ridge._fit({"all": x}, y, 0)
    strength = 0.3 * np.mean(np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2)
    for i in range(25):
        rest = np.delete(np.arange(25), i)
        # the mean is a column of its own, which is not shrunk
        design = np.column_stack([np.ones(24), x[rest] - x.mean(axis=0)])
        penalty = np.diag([0.0, *[strength] * 6])
        solution = np.linalg.solve(design.T @ design + penalty, design.T @ y[rest])
        guess = solution @ np.concatenate([[1.0], x[i] - x.mean(axis=0)])
        np.testing.assert_allclose(line.held_out[0][i], guess, rtol=1e-9)


def test_strength_follows_the_noise():
    x = rows(40, 60)
    signal = x[:, :3] @ np.array([1.0, -2.0, 3.0])
    noise = rows(40, 1, seed=1)[:, 0]

    def size(y):
        return np.abs(ridge._fit({"all": x}, (y - y.mean()) / y.std(), 0).coefficients).sum()

    assert size(signal) > 3 * size(noise)
