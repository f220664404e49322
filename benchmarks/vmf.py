"""Measure the error of the vMF normaliser, and its speed beside SciPy's ``ive`` and a logarithm.

    python benchmarks/vmf.py [--values 1000000]

Other code computes the logarithm of the Bessel function as ``log(1e-6 + ive(n/2 − 1, κ)) + κ`` in
float32. This is measured too, and the same in float64 without the 1e-6. The exact values come from
50-digit arithmetic. An error is the largest over κ from 0.01 to 10 000, in nats.
"""

import argparse
import math

import mpmath
import numpy as np
import torch
from measure import seconds
from rich.console import Console
from rich.table import Table
from scipy.special import ive

from lh2face.functional import vmf

DIMS = (2, 16, 64, 128, 256, 512, 1024, 8192)
KAPPAS = (0.01, 0.3, 1, 5, 20, 64, 200, 1000, 10_000)


def exact(dim: int, kappa: float) -> mpmath.mpf:
    """Compute log c_n(κ) with 50 digits."""
    order, k = mpmath.mpf(dim) / 2 - 1, mpmath.mpf(kappa)
    bessel = mpmath.besseli(order, k, maxterms=10**6)
    return order * mpmath.log(k) - (order + 1) * mpmath.log(2 * mpmath.pi) - mpmath.log(bessel)


def by_ive(kappa: np.ndarray, dim: int, offset: float) -> np.ndarray:
    """Compute log c_n(κ) with SciPy's scaled Bessel function."""
    order = dim / 2 - 1
    with np.errstate(divide="ignore"):
        log_bessel = np.log(offset + ive(order, kappa)) + kappa
    return order * np.log(kappa) - (order + 1) * math.log(2 * math.pi) - log_bessel


def ours(kappa: np.ndarray, dim: int) -> np.ndarray:
    """Compute log c_n(κ) with this project's function."""
    return vmf.log_normalizer(torch.from_numpy(kappa), dim).numpy()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=1_000_000)
    arguments = parser.parse_args()
    mpmath.mp.dps = 50
    kappa64 = np.array(KAPPAS, np.float64)
    kappa32 = kappa64.astype(np.float32)
    ways = {
        "ours, float64": lambda n: ours(kappa64, n),
        "ours, float32": lambda n: ours(kappa32, n),
        "ive, float64": lambda n: by_ive(kappa64, n, 0.0),
        "1e-6 + ive, float32": lambda n: by_ive(kappa32, n, np.float32(1e-6)),
    }
    errors = Table("largest error of log c_n(κ)", *(f"n = {n}" for n in DIMS))
    truth = {n: [exact(n, kappa) for kappa in KAPPAS] for n in DIMS}
    for name, way in ways.items():
        row = [
            max(abs(float(t - mpmath.mpf(float(v)))) for t, v in zip(truth[n], way(n), strict=True))
            for n in DIMS
        ]
        errors.add_row(name, *(f"{error:.1e}" for error in row))
    console = Console(width=140)
    console.print(errors)

    draws = np.random.default_rng(0).uniform(1, 300, arguments.values).astype(np.float32)
    values = torch.from_numpy(draws)
    floor = seconds(lambda: torch.log(values))
    speed = Table(f"{arguments.values} values of float32", "ms", "÷ an elementwise log")
    rows = {"log": floor}
    for n in (64, 256, 512):
        rows[f"ours, n = {n}"] = seconds(lambda n=n: vmf.log_normalizer(values, n))
        rows[f"1e-6 + ive, n = {n}"] = seconds(lambda n=n: by_ive(draws, n, np.float32(1e-6)))
    for name, time in rows.items():
        speed.add_row(name, f"{1e3 * time:.1f}", f"{time / floor:.0f}")
    console.print(speed)


if __name__ == "__main__":
    main()
