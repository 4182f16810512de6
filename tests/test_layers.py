"""Who may import whom: experiments the other two, those two neither it nor each other, and no file in a circle."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("scaling", "cluster", "experiments")
ALLOWED = {"scaling": {"scaling"}, "cluster": {"cluster"}, "experiments": set(LAYERS)}
SCALING_MAY_USE = {"numpy", "scipy", "pandas", "matplotlib", "scaling"}
CLUSTER_MAY_NOT_USE = {"torch", "torchvision", "timm", "codecarbon", "sklearn"}


def imported(file: Path) -> set[str]:
    """Top-level names of all that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def files_of(layer: str) -> list[Path]:
    """The layer's modules."""
    return sorted((ROOT / layer).rglob("*.py"))


def module_name(file: Path) -> str:
    """Name by which a file of a layer is imported."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_imported(file: Path, modules: set[str]) -> set[str]:
    """The project's modules that a file names in imports: inside functions and for types alone too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file} imports by a relative name, which this test does not follow"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (below & modules) or {node.module}
    return names & modules - {module_name(file)}


def test_no_file_is_part_of_a_circle_of_imports():
    """Each can be read after those that it builds on. An import inside a function would hide a circle, not open it."""
    files = {module_name(file): file for layer in LAYERS for file in files_of(layer)}
    graph = {name: modules_imported(file, set(files)) for name, file in files.items()}

    order = list(graphlib.TopologicalSorter(graph).static_order())  # a CycleError names the files of a circle

    assert order.index("scaling.fit") < order.index("experiments.fitting") < order.index("experiments.cli")


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_downwards_only(layer):
    """Read from the code, so that an import inside a function counts as well."""
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files_of(layer)
        for name in imported(file) & set(LAYERS) - ALLOWED[layer]
    }

    assert files_of(layer)
    assert not wrong


def test_scaling_needs_four_libraries():
    """It works on any table, where torch, ray and mlflow are not installed."""
    used = set().union(*map(imported, files_of("scaling")))

    assert used - set(sys.stdlib_module_names) <= SCALING_MAY_USE


def test_cluster_knows_no_model():
    """It runs trials without knowing what they do."""
    used = set().union(*map(imported, files_of("cluster")))

    assert not used & CLUSTER_MAY_NOT_USE


def test_scaling_imports_with_four_libraries_alone():
    """A fresh interpreter that refuses everything else imports it and fits."""
    program = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "ray", "mlflow", "pydantic", "yaml", "typer", "rich", "pyarrow", "sklearn"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
import pandas
from scaling import fit
import scaling.figures, scaling.report, scaling.export
runs = pandas.DataFrame({"train_flops": [1e6 * 4**i for i in range(8)], "test_error": [0.5 / 2**i for i in range(8)]})
print(round(fit(runs, law="power").exponent, 6))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2.0"


def test_a_trial_loads_nothing_that_fits_need():
    """Each worker would wait a second for them."""
    program = (
        "import sys; import experiments.trial\n"
        "from experiments.techniques import find_technique; find_technique('baseline')\n"
        "print(sorted({'scaling', 'pandas', 'scipy', 'matplotlib', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("layer", LAYERS)
def test_every_package_can_be_found_by_an_installer(layer):
    """A folder of modules without __init__.py would be left out of the wheel."""
    folders = {file.parent for file in files_of(layer)}

    assert all((folder / "__init__.py").exists() for folder in folders)


def test_the_tests_shadow_no_package():
    """An __init__.py below tests/ would make tests/scaling a second `scaling`."""
    assert not list((ROOT / "tests").rglob("__init__.py"))
