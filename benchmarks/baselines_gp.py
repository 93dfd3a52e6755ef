"""Carbon dioxide on Mauna Loa: scikit-learn's Gaussian process beside `experiment=co2_gp`, on the same split.

`python benchmarks/baselines_gp.py` prints the kernel that scikit-learn's page on it publishes, whose hyperparameters
were fitted to all months, those of the test too, and the same kernel fitted to the training part from our start.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ExpSineSquared, Kernel, RationalQuadratic, WhiteKernel

from bptrain.config.compose import compose, settings_of
from bptrain.data.statsmodels import monthly_means

JITTER = 1e-6  # of model=gp


def kernel(published: bool) -> Kernel:
    if published:
        return (
            44.8**2 * RBF(51.6)
            + 2.64**2 * RBF(91.5) * ExpSineSquared(1.48, 1.0)
            + 0.536**2 * RationalQuadratic(0.968, 2.89)
            + 0.188**2 * RBF(0.122)
            + WhiteKernel(0.0367)
        )
    return (
        50.0**2 * RBF(50.0)
        + 2.0**2 * RBF(100.0) * ExpSineSquared(1.0, 1.0)
        + 0.5**2 * RationalQuadratic(1.0, 1.0)
        + 0.1**2 * RBF(0.1)
        + WhiteKernel(0.1**2, (1e-6, 10.0))
    )


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    months, means = monthly_means("datasets")
    whole = GaussianProcessRegressor(kernel(True), alpha=JITTER, optimizer=None)
    whole.fit(((months + 1) / 12)[:, None], means - means.mean())
    print(
        f"all {len(means)} months, published kernel: log marginal likelihood {whole.log_marginal_likelihood_value_:.4f}"
    )
    parts = settings_of(compose(["experiment=co2_gp"])).data.load(0).parts
    (x, y), (x_test, y_test) = ((p.inputs.double().numpy(), p.targets[:, 0].double().numpy()) for p in
                                (parts["train"], parts["test"]))  # fmt: skip
    for published in (True, False):
        gp = GaussianProcessRegressor(kernel(published), alpha=JITTER, optimizer=None if published else "fmin_l_bfgs_b")
        gp.fit(x, y)
        mean, deviation = gp.predict(x_test, return_std=True)
        error, variance = y_test - mean, deviation**2
        density = np.mean(np.log(2 * np.pi * variance) + error**2 / variance) / 2
        print(
            f"{'published' if published else 'fitted'} kernel: train {len(x)}, test {len(x_test)}, "
            f"log marginal likelihood {gp.log_marginal_likelihood_value_:.4f}, RMSE {np.sqrt(np.mean(error**2)):.3f}, "
            f"coverage {np.mean(np.abs(error) <= 1.959964 * deviation):.3f}, NLPD {density:.3f}\n  {gp.kernel_}"
        )


if __name__ == "__main__":
    main()
