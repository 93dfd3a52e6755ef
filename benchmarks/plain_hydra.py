"""The plain loop as a Hydra application: what benchmarks/sweep.py has Hydra's own launchers run."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig
from plain import run


@hydra.main(version_base=None, config_path=".", config_name="plain_hydra")
def main(config: DictConfig) -> float:
    accuracy = run(config.lr, config.seed, config.epochs)
    print(f"test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
