"""Laws: their values against the formulas written out, gradients, inverses, and recovery from noise-free runs."""

import numpy as np
import pandas as pd
import pytest

from scaling import LAWS, fit, get_law
from scaling.laws import m4, rosenfeld
from scaling.points import ROLE_COLUMNS

TRUTHS = {
    "power": {"A": 40.0, "alpha": 0.2},
    "saturating": {"E": 0.02, "A": 90.0, "alpha": 0.25},
    "exponential": {"a": -15.0, "b": 2.0},
    "m4": {"E": 0.03, "A": 3000.0, "alpha": 0.4, "gamma": 1.3, "E0": 0.9},
    "bnsl1": {"E": 0.02, "B": 0.9, "c0": 0.01, "c1": 0.35, "d1": 3e10, "f1": 0.8},
    "bnsl2": {
        "E": 0.01, "B": 2.0, "c0": 0.05, "c1": 0.3, "d1": 1e10, "f1": 0.5, "c2": -0.2, "d2": 1e12, "f2": 0.4,
    },
    "bnsl3": {
        "E": 0.01, "B": 2.0, "c0": 0.05, "c1": 0.4, "d1": 1e10, "f1": 0.5, "c2": -0.3, "d2": 2e11, "f2": 0.4,
        "c3": 0.5, "d3": 4e12, "f3": 0.3,
    },
    "size_and_data": {"E": 0.02, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4},
    "width_depth_data": {"E": 0.02, "A": 1.0, "alpha": 0.6, "G": 0.2, "gamma": 0.9, "B": 5.0, "beta": 0.4},
    "rosenfeld": {"E": 0.02, "A": 15.0, "alpha": 0.3, "B": 60.0, "beta": 0.4, "E0": 0.9},
    "repeated_data": {"E": 0.02, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4, "R_data": 8.0},
    "repeated_data_and_size": {
        "E": 0.02, "A": 5.0, "alpha": 0.3, "B": 20.0, "beta": 0.4, "R_data": 8.0, "R_size": 5.0,
    },
    "pruned": {"E_max": 0.85, "p": 0.01, "gamma": 1.2},
    "pruned_family": {"E_max": 0.85, "p": 0.5, "gamma": 1.2, "phi": 0.6, "psi": 0.9},
}  # fmt: skip
NAMES = sorted(TRUTHS)


def inputs_of(law, n=180):
    """Inputs for every role, spread as a sweep would spread them."""
    rng = np.random.default_rng(7)
    values = {
        "cost": np.repeat(np.geomspace(1e9, 1e13, n // 3), 3),
        "size": 10 ** rng.uniform(3, 7, n),
        "data": 10 ** rng.uniform(2, 6, n),
        "width": 2.0 ** rng.integers(2, 9, n),
        "depth": rng.integers(1, 9, n) * 1.0,
        "epochs": rng.choice([0.5, 1, 2, 4, 10, 30, 60], n),
        "density": 2.0 ** -rng.uniform(0, 9, n),
        "dense_error": rng.uniform(0.02, 0.2, n),
    }
    return [values[role] for role in law.roles]


def by_hand(name, p, x):
    """The published formulas, written out once more and nowhere shared with the package."""
    if name == "power":
        return p["A"] * x[0] ** -p["alpha"]
    if name == "saturating":
        return p["E"] + p["A"] * x[0] ** -p["alpha"]
    if name == "exponential":
        return 1 / (p["a"] + p["b"] * np.log10(x[0]))
    if name.startswith("bnsl"):
        value = p["B"] * x[0] ** -p["c0"]
        for i in range(1, int(name[-1]) + 1):
            value *= (1 + (x[0] / p[f"d{i}"]) ** (1 / p[f"f{i}"])) ** (-p[f"c{i}"] * p[f"f{i}"])
        return p["E"] + value
    if name == "size_and_data":
        return p["E"] + p["A"] / x[0] ** p["alpha"] + p["B"] / x[1] ** p["beta"]
    if name == "width_depth_data":
        return p["E"] + p["A"] / x[0] ** p["alpha"] + p["G"] / x[1] ** p["gamma"] + p["B"] / x[2] ** p["beta"]
    if name == "rosenfeld":
        # Rosenfeld et al. eq. 5 with eta = E0: the modulus of a complex number.
        inner = p["E"] + p["A"] / x[0] ** p["alpha"] + p["B"] / x[1] ** p["beta"]
        return p["E0"] * np.abs(inner / (inner - 1j * p["E0"]))
    if name.startswith("pruned"):
        h = x[0] if name == "pruned" else x[0] * x[2] ** p["phi"] * x[3] ** p["psi"]
        top = h - 1j * p["p"] * (p["E_max"] / x[1]) ** (1 / p["gamma"])
        return x[1] * np.abs(top / (h - 1j * p["p"])) ** p["gamma"]
    size, data, epochs = x
    seen = data * np.minimum(epochs, 1)
    repeats = np.maximum(epochs - 1, 0)
    worth = seen * (1 + p["R_data"] * (1 - np.exp(-repeats / p["R_data"])))
    if name == "repeated_data_and_size":
        best = (p["alpha"] * p["A"] / (p["beta"] * p["B"]) * seen ** p["beta"]) ** (1 / p["alpha"])
        base = np.minimum(best, size)
        size = base * (1 + p["R_size"] * (1 - np.exp(-(size / base - 1) / p["R_size"])))
    return p["E"] + p["A"] / size ** p["alpha"] + p["B"] / worth ** p["beta"]


def test_every_law_is_tested():
    """A law that is added without a truth here fails."""
    assert set(TRUTHS) == set(LAWS)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "m4"])
def test_law_agrees_with_its_published_formula(name):
    """The values equal the formula written out."""
    law = LAWS[name]
    x = inputs_of(law)

    assert law.predict(TRUTHS[name], *x) == pytest.approx(by_hand(name, TRUTHS[name], x), rel=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.5])
def test_m4_solves_its_implicit_equation(gamma):
    """Put back into the equation, the predicted error satisfies it over fifteen decades of cost."""
    p = TRUTHS["m4"] | {"gamma": gamma}
    cost = np.geomspace(1e4, 1e19, 50)

    error = LAWS["m4"].predict(p, cost)

    if gamma:
        assert np.all(error < p["E0"])
    share = (error - p["E"]) / (p["E0"] - error) ** gamma
    kept = (p["E0"] - error > 1e-9) & (error - p["E"] > 1e-9)
    assert share[kept] == pytest.approx(p["A"] * cost[kept] ** -p["alpha"], rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_agrees_with_central_differences(name):
    """Each parameter's derivative, in the units of the equation."""
    law, p = LAWS[name], TRUTHS[name]
    x = inputs_of(law)

    gradient = law.gradient(p, *x)

    for key, value in p.items():
        step = 1e-6 * abs(value)
        up, down = (law.predict(p | {key: value + sign * step}, *x) for sign in (1, -1))
        numeric = (up - down) / (2 * step)
        assert gradient[key] == pytest.approx(numeric, rel=1e-5, abs=1e-6 * np.abs(numeric).max())


@pytest.mark.parametrize("name", [name for name in NAMES if LAWS[name].roles == ("cost",)])
def test_inverse_undoes_predict(name):
    """The cost of a law's own error is the cost it was given."""
    law = LAWS[name]
    cost = np.array([2e9, 1e11, 5e12])

    assert law.inverse(TRUTHS[name], law.predict(TRUTHS[name], cost)) == pytest.approx(cost, rel=1e-8)


@pytest.mark.parametrize("name", ["saturating", "m4", "bnsl1"])
def test_inverse_below_the_irreducible_error_is_infinite(name):
    """No cost reaches an error below E."""
    assert np.isinf(LAWS[name].inverse(TRUTHS[name], TRUTHS[name]["E"] * 0.9))


def test_inverse_above_the_error_of_guessing_is_zero():
    """M4 is below E0 from the start."""
    assert LAWS["m4"].inverse(TRUTHS["m4"], 0.95) == 0


@pytest.mark.parametrize("name", NAMES)
def test_noise_free_runs_give_the_parameters_back(name):
    """To a millionth, from starts that do not know them."""
    law, p = LAWS[name], TRUTHS[name]
    x = inputs_of(law)
    columns = {role: f"my_{role}" for role in law.roles}
    runs = pd.DataFrame({f"my_{role}": values for role, values in zip(law.roles, x, strict=True)})
    runs["err"] = law.predict(p, *x)

    result = fit(runs, law, cost="my_cost", error="err", columns=columns if "cost" not in columns else {})

    assert result.converged, result.reason
    assert dict(result.parameters) == pytest.approx(p, rel=1e-6)
    assert result.equation.startswith(("error", "1/error", "e ="))


@pytest.mark.parametrize("make", [m4, rosenfeld])
def test_known_error_of_guessing_is_no_parameter(make):
    """The law with E0 fixed predicts what the free one predicts at that E0."""
    fixed, free = make(0.9), make()
    p = dict(TRUTHS[free.name])
    x = inputs_of(free)

    expected = free.predict(p, *x)
    p.pop("E0")

    assert fixed.predict(p, *x) == pytest.approx(expected, rel=1e-12)
    assert fixed.n_parameters == free.n_parameters - 1


def test_size_and_data_exponent_is_the_sum_of_the_inverses():
    """At the optimal allocation k = 1/alpha + 1/beta, checked on the implied frontier by brute force."""
    law, p = LAWS["size_and_data"], TRUTHS["size_and_data"]
    sizes = np.geomspace(1e-2, 1e14, 200_001)
    budgets = np.array([1e14, 1e16])
    best = [law.predict(p, sizes, budget / sizes).min() - p["E"] for budget in budgets]

    slope = -np.log(best[1] / best[0]) / np.log(100)

    assert law.compute_exponent(p) == pytest.approx(1 / slope, rel=1e-4)


def test_unknown_law_is_refused_with_the_nearest_name():
    """A misspelt law names what was meant."""
    with pytest.raises(ValueError, match="did you mean 'saturating'"):
        get_law("saturatin")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"E": 0.1, "A": 1.0}, "missing: alpha"),
        ({"E": -0.1, "A": 1.0, "alpha": 0.2}, "E is -0.1"),
        ({"E": 0.1, "A": 1.0, "alpha": float("nan")}, "alpha is nan"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    """Names and ranges are checked where a person's numbers enter."""
    with pytest.raises(ValueError, match=message):
        LAWS["saturating"].predict(parameters, 1e9)


def test_input_that_is_not_positive_is_refused():
    """A cost of 0 has no logarithm."""
    with pytest.raises(ValueError, match="cost holds a value that is not positive"):
        LAWS["power"].predict(TRUTHS["power"], [1.0, 0.0])


def test_every_role_has_a_usual_column():
    """No law needs a column to be named that the runs table already names."""
    assert {role for law in LAWS.values() for role in law.roles} <= set(ROLE_COLUMNS)
