import numpy as np

from predictors.accuracy import ridge


def rows(n, f, seed=0):
    return np.random.default_rng(seed).normal(size=(n, f))


def test_left_out_errors_are_those_of_lines_through_the_others():
    x, strength = rows(25, 6), 3.0
    y = x @ np.arange(6.0) + rows(25, 1, seed=1)[:, 0]
    left, sizes, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    errors = ridge.left_out_errors(left, sizes**2, y - y.mean(), strength)
    for i in range(25):
        rest = np.delete(np.arange(25), i)
        # the mean is a column of its own, which is not shrunk
        design = np.column_stack([np.ones(24), x[rest] - x.mean(axis=0)])
        penalty = np.diag([0.0, *[strength] * 6])
        solution = np.linalg.solve(design.T @ design + penalty, design.T @ y[rest])
        guess = solution @ np.concatenate([[1.0], x[i] - x.mean(axis=0)])
        np.testing.assert_allclose(errors[i], y[i] - guess, rtol=1e-9)


def test_line_is_the_penalised_least_squares_solution(monkeypatch):
    monkeypatch.setattr(ridge, "STRENGTHS", np.array([0.3]))
    x, y = rows(30, 5), rows(30, 1, seed=1)[:, 0]
    line = ridge.fit_line(x, y)
    centred = x - x.mean(axis=0)
    covariance = centred.T @ centred
    penalty = 0.3 * np.trace(covariance) / 5 * np.eye(5)
    expected = np.linalg.solve(covariance + penalty, centred.T @ (y - y.mean()))
    np.testing.assert_allclose(line.coefficients, expected, rtol=1e-9)
    np.testing.assert_allclose(line.guess(x)[0], y.mean() + centred @ expected, rtol=1e-9)
    far, near = line.guess(np.stack([x.mean(axis=0) + 10, x.mean(axis=0)]))[1]
    assert far > 2 * near


def test_strength_follows_the_noise():
    x = rows(40, 60)
    signal = x[:, :3] @ np.array([1.0, -2.0, 3.0])
    noise = rows(40, 1, seed=1)[:, 0]

    def size(y):
        return np.abs(ridge.fit_line(x, (y - y.mean()) / y.std()).coefficients).sum()

    assert size(signal) > 3 * size(noise)
