"""A first sweep file for somebody's own data and model, with every line explained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from scaling.export import check_writable

if TYPE_CHECKING:
    from experiments.data import DatasetInfo

# Sizes are proposed so that a first sweep takes minutes to an hour on a few cores; the plan says how long.
LARGEST_FIRST_SUBSET = 50_000
SUBSETS = 5
SIDE = 64
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Wish:
    """What is known of the sweep to be.

    Attributes:
        folder: Folder of images, ``train/CLASS/*`` and ``val/CLASS/*``.
        dataset: Name of a data set, or ``module:function``, where there is no folder.
        family: Model family, or ``module:function``.
        name: Name of the sweep; that of the file if empty.
    """

    folder: Path | None = None
    dataset: str = ""
    family: str = "resnet"
    name: str = ""


def write_sweep_file(wish: Wish, path: Path, *, replace: bool = False) -> DatasetInfo:
    """Write a commented sweep file whose sizes suit the data; return what is known of the data.

    Raises:
        ValueError: If the data set is not there or does not fit, the model cannot be built for it, or the file exists.
    """
    from experiments.data import check_dataset, describe_dataset
    from experiments.models import check_buildable, model_arguments
    from experiments.sweep import load_sweep

    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; name the sweep file to write, such as mine.yaml, and a folder of images by --data"
        )
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{path} does not end in .yaml; name the sweep file to write, such as mine.yaml, and a folder of images by "
            "--data"
        )
    if path.exists() and not replace:
        raise ValueError(f"{path} exists; give --force to replace it, or name another file")
    check_writable(path.parent, "name a file in a folder that you may write to")
    dataset = dataset_name(wish)
    check_dataset(dataset)
    info = describe_dataset(dataset)
    sizes = _sizes(info)
    check_buildable(
        wish.family, **model_arguments(info, width=sizes["narrowest"], depth=1)
    )  # fmt: skip
    text = _template().substitute(
        name=wish.name or path.stem, dataset=dataset, family=wish.family, n_classes=info.n_classes, file=path,
        shape=" x ".join(map(str, info.shape)), n_pool=info.n_train, n_test=info.n_test, **sizes,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    load_sweep(path).trials()
    return info


def dataset_name(wish: Wish) -> str:
    """The data set as a sweep file names it.

    Raises:
        ValueError: If both a folder and a name are given, or the folder is not there.
    """
    if wish.folder is None:
        return wish.dataset or "digits"
    if wish.dataset:
        raise ValueError(f"--data {wish.folder} and --dataset {wish.dataset} are both given; give one")
    if not wish.folder.is_dir():
        raise ValueError(
            f"there is no folder {wish.folder}; give one that holds train/CLASS/*.jpeg and val/CLASS/*.jpeg"
        )
    return f"imagefolder:{wish.folder.absolute()}?size={SIDE}"


def _sizes(info: DatasetInfo) -> dict[str, int]:
    largest = min(info.n_train, LARGEST_FIRST_SUBSET)
    smallest = min(max(info.n_classes * 4, largest // 100, 16), largest)
    return {"smallest": smallest, "largest": largest, "points": SUBSETS if largest > 4 * smallest else 2,
            "narrowest": 8, "batch": min(32, smallest)}  # fmt: skip


def _template() -> Template:
    return Template((Path(__file__).parent / "sweeps" / "init.template").read_text(encoding="utf-8"))
