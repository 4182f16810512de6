"""A second source of published results: the metadata that ship with torchvision's weights."""

from __future__ import annotations

import math

import pandas as pd

from scaling.literature import check_published

# When each family was published: the weights carry no date. Year of the paper, by the longest prefix that fits.
YEARS = {
    "alexnet": 2012, "convnext": 2022, "densenet": 2016, "efficientnet_v2": 2021, "efficientnet": 2019,
    "googlenet": 2014, "inception_v3": 2015, "maxvit": 2022, "mnasnet": 2018, "mobilenet_v2": 2018,
    "mobilenet_v3": 2019, "regnet": 2020, "resnet": 2015, "resnext": 2016, "shufflenet_v2": 2018,
    "squeezenet": 2016, "swin_v2": 2021, "swin": 2021, "vgg": 2014, "vit": 2020, "wide_resnet": 2016,
}  # fmt: skip
BENCHMARK = "ImageNet-1K"


def torchvision_results() -> pd.DataFrame:
    """Error, multiply-adds, parameters and recipe of every ImageNet classifier of torchvision.

    The field it calls GFLOPS counts multiply-adds, and says so here. One recipe page may train several
    models, and a model may have several recipes: rows of one recipe are resampled together.

    Raises:
        ModuleNotFoundError: If torchvision is not installed.
        ValueError: If a family has no year yet.
    """
    from experiments.torchvision_mend import mend_torchvision

    mend_torchvision()
    from torchvision import models

    rows = []
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            metrics = weights.meta["_metrics"].get(BENCHMARK)
            # Some weights (trained for use as features) have no error of their own on ImageNet.
            if metrics is None or not math.isfinite(metrics["acc@1"]) or not weights.meta.get("_ops"):
                continue
            rows.append({
                "benchmark": "ImageNet",
                "model": f"{name} {weights.name}",
                "year": family_year(name),
                "error": 1.0 - metrics["acc@1"] / 100.0,
                "error_metric": "top-1 error",
                "per_pass": weights.meta["_ops"],
                "per_pass_unit": "billion multiply-adds",
                "n_params": weights.meta["num_params"],
                "paper": str(weights.meta.get("recipe", name)),
                "paper_url": str(weights.meta.get("recipe", "")),
            })  # fmt: skip
    return check_published(pd.DataFrame(rows))


def family_year(name: str) -> int:
    """Year in which a model's family was published.

    Raises:
        ValueError: If the table of years lacks the family.
    """
    fits = [prefix for prefix in YEARS if name.startswith(prefix)]
    if not fits:
        raise ValueError(f"torchvision's model {name!r} has no year in this program's table; it cannot be dated")
    return YEARS[max(fits, key=len)]
