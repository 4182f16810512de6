"""The commands init and export: from a folder of images to a sweep file, from a fit to files for others."""

import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from referencing import Registry, Resource

from experiments.sweep import load_sweep
from scaling.export import check_writable

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
RUNS = "train_flops,test_error,width,technique\n" + "".join(
    f"{10**power},{0.5 / 2**power},{power + 1},<none>\n" for power in range(8)
)


def validator(name):
    """A published schema, with those it refers to."""
    schemas = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")]
    registry = Registry().with_resources((one["$id"], Resource.from_contents(one)) for one in schemas)
    schema = next(one for one in schemas if one["$id"] == f"urn:ninthpower:{name}")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, registry=registry)


@pytest.fixture
def fitted(ninthpower, tmp_path):
    """A small table, fitted under two laws of which one is refused."""
    path = tmp_path / "mine.csv"
    path.write_text(RUNS)
    assert ninthpower("fit", path).returncode == 0
    return path


def test_fits_and_export_keep_to_their_published_schemas(ninthpower, fitted):
    """Both as they are written; and the schema is one that refuses what is wrong."""
    written = json.loads((fitted.with_suffix("") / "fits.json").read_text())
    validator("fits-1").validate(written)

    path = ninthpower("export", fitted).stdout.splitlines()[0]
    content = json.loads(Path(path).read_text())
    validator("export-1").validate(content)
    assert [run["test_error"] for run in content["runs"]] == pytest.approx(list(pd.read_csv(fitted)["test_error"]))

    refused = next(one for one in content["fits"] if one["fit"]["status"] != "converged")
    refused["fit"]["exponent"] = 3.0
    with pytest.raises(jsonschema.ValidationError):
        validator("export-1").validate(content)


@pytest.mark.parametrize(("form", "suffix"), [("csv", ".csv"), ("parquet", ".parquet"), ("latex", ".tex")])
def test_tables_are_written_in_each_format(ninthpower, fitted, tmp_path, form, suffix):
    """Frontier and laws always, the runs where they can be read again."""
    done = ninthpower("export", fitted, "--format", form, "--out", tmp_path / "out", "--json")

    names = {Path(path).name for path in json.loads(done.stdout)}
    assert names == {f"frontier{suffix}", f"laws{suffix}", *([] if form == "latex" else [f"runs{suffix}"])}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


def test_a_refused_law_is_exported_without_a_number(ninthpower, fitted, tmp_path):
    """Its parameters were computed, and may not be quoted."""
    ninthpower("export", fitted, "--format", "csv", "--out", tmp_path / "out")
    laws = pd.read_csv(tmp_path / "out" / "laws.csv").set_index("law")

    assert laws.loc["power", "exponent"] == pytest.approx(np.log2(10))
    assert laws.loc["power", "alpha_low"] <= laws.loc["power", "alpha"] <= laws.loc["power", "alpha_high"]
    assert laws.loc["saturating", ["exponent", "alpha", "E"]].isna().all()
    assert "E = 0" in laws.loc["saturating", "reason"] or "bound" in laws.loc["saturating", "reason"]


def test_the_same_fit_is_exported_as_the_same_bytes(ninthpower, fitted, tmp_path):
    """Twice, into two folders."""
    for name in ("first", "second"):
        ninthpower("fit", fitted)
        ninthpower("export", fitted, "--out", tmp_path / name)

    assert (tmp_path / "first/export.json").read_bytes() == (tmp_path / "second/export.json").read_bytes()


@pytest.fixture
def flowers(tmp_path):
    """A folder of images laid out like ImageNet's."""
    generator = np.random.default_rng(0)
    for part, n in (("train", 12), ("val", 4)):
        for name in ("daisy", "rose", "tulip"):
            folder = tmp_path / "flowers" / part / name
            folder.mkdir(parents=True)
            for number in range(n):
                Image.fromarray(generator.integers(0, 255, (24, 20, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "flowers"


def test_a_sweep_file_is_written_for_a_folder_of_images(ninthpower, flowers, tmp_path, monkeypatch):
    """It names the folder, suits its size, and is read by the program itself."""
    monkeypatch.setenv("NINTHPOWER_CACHE", str(tmp_path / "cache"))
    done = ninthpower("init", "mine.yaml", "--data", flowers, "--family", "convnext")

    assert done.returncode == 0, done.stderr
    assert "3 classes of 3 x 64 x 64" in done.stdout
    assert done.stdout.splitlines()[-1] == "next: ninthpower plan mine.yaml"
    sweep = load_sweep(tmp_path / "mine.yaml")
    assert (sweep.name, sweep.family) == ("mine", "convnext")
    assert f"imagefolder:{flowers}?size=64" == sweep.dataset
    largest = max(trial.n_train for trial in sweep.trials())
    assert 0 < largest <= 36
    assert all(trial.batch_size <= trial.n_train for trial in sweep.trials())


def test_every_key_of_the_file_is_explained(ninthpower, tmp_path):
    """Comments make it a page to learn from."""
    ninthpower("init", "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()

    for key in yaml.safe_load(text):
        place = text.index(f"\n{key}:")
        around = text[max(0, text.rfind("\n\n", 0, place)) : text.find("\n\n", place)]
        assert "#" in around, key


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["init", "mine.yaml", "--data", "nowhere"],
            "there is no folder nowhere; give one that holds train/CLASS/*.jpeg",
        ),
        (["init", "mine.yaml", "--data", ".", "--dataset", "digits"], "are both given; give one"),
        (["init", "mine.yaml", "--dataset", "digist"], "did you mean 'digits'?"),
        (["init", "mine.yaml", "--family", "restnet"], "did you mean 'resnet'?"),
        (["init", "there.yaml"], "there.yaml exists; give --force to replace it"),
        (["export", "unfitted.csv"], "run ninthpower fit unfitted.csv first"),
        (["export", "nowhere.csv"], "there is no file nowhere.csv"),
    ],
)
def test_an_error_is_one_sentence_with_its_remedy(ninthpower, tmp_path, arguments, words):
    """And nothing is written."""
    (tmp_path / "there.yaml").write_text("name: there\n")
    (tmp_path / "unfitted.csv").write_text(RUNS)
    before = sorted(tmp_path.iterdir())
    done = ninthpower(*arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_report_shows_what_was_fitted_last(ninthpower, tmp_path):
    """Its cost, laws and level, unless others are asked for; and it writes the same fits.json again."""
    (tmp_path / "mine.csv").write_text(RUNS.replace("width", "energy_joules"))
    assert ninthpower("fit", "mine.csv", "--cost", "energy_joules", "--law", "power").returncode == 0
    fits = tmp_path / "mine" / "fits.json"
    fitted = fits.read_bytes()

    assert ninthpower("report", "mine.csv").returncode == 0
    assert fits.read_bytes() == fitted
    page = (tmp_path / "mine" / "report.html").read_text()
    assert "<h1>mine.csv: test error against energy</h1>" in page
    assert "saturating law" not in page

    assert ninthpower("report", "mine.csv", "--cost", "train_flops", "--out", "other").returncode == 0
    other = json.loads((tmp_path / "other" / "fits.json").read_text())
    assert (other["cost"], [one["fit"]["law"] for one in other["fits"]]) == ("train_flops", ["power"])


@contextmanager
def no_administrator():
    """Give away for a while what an administrator may do, which is everything."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_a_folder_of_somebody_elses_is_named_with_the_reason(tmp_path):
    """As a user finds it who may not write there; nothing is left behind."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o555)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)

    words = re.escape(f"{theirs / 'new'} cannot be written to (permission denied); give another")
    with no_administrator(), pytest.raises(ValueError, match=words):
        check_writable(theirs / "new", "give another")
    assert not list(theirs.iterdir())
    assert check_writable(tmp_path / "new" / "deep") == tmp_path / "new" / "deep"
    assert list(tmp_path.iterdir()) == [theirs]
