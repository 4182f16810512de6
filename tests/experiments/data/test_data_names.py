"""Names of data sets, and what importing the package costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.data import DATASET_NAMES, check_dataset, describe_dataset, load_dataset

REPOSITORY = Path(__file__).resolve().parents[3]


def test_importing_and_describing_loads_no_heavy_library():
    """Neither torch nor scikit-learn nor an image library; `plan` and `--help` stay quick."""
    code = (
        "import sys; from experiments.data import describe_dataset;"
        "[describe_dataset(name) for name in ('digits', 'glyphs', 'cifar10', 'mnist')];"
        "print(*sorted({'torch', 'torchvision', 'sklearn', 'scipy', 'PIL', 'matplotlib'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == ""


@pytest.mark.parametrize("name", [name for name in DATASET_NAMES if name != "imagefolder"])
def test_every_description_is_complete(name, tmp_path):
    """Positive sizes, one mean and deviation per channel, a source and a licence."""
    info = describe_dataset(name, data_folder=tmp_path)

    assert info.name == name
    assert min(info.n_classes, info.n_train, info.n_validation, info.n_test, *info.shape) >= 1
    assert len(info.mean) == len(info.std) == info.channels
    assert all((info.description, info.source, info.licence))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cifra10", "no data set 'cifra10'; allowed are digits, .*; did you mean 'cifar10'"),
        ("zebra", "or bring your own as module:function"),
        ("", "there is no data set ''"),
        ("digits:8", "digits takes nothing after ':'; write 'digits'"),
        ("digits?size=8", "digits knows no option 'size'; it has none"),
        ("mnist?size=8", "mnist knows no option 'size'"),
    ],
)
def test_a_wrong_name_is_refused_with_what_is_allowed(name, sentence, tmp_path):
    """By each of the three that take a name."""
    for call in (describe_dataset, check_dataset, load_dataset):
        with pytest.raises(ValueError, match=sentence):
            call(name, data_folder=tmp_path)


def test_digits_without_scikit_learn_are_a_sentence(monkeypatch):
    """The check comes before the trial."""
    monkeypatch.setattr("experiments.data.digits.find_spec", lambda _name: None)

    with pytest.raises(ValueError, match="digits comes with scikit-learn, which is not installed"):
        check_dataset("digits")
