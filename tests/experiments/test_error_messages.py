"""What a person who errs is told: one table of inputs and messages, and rules that hold for every message there is."""

import ast
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling import figures
from scaling.allocation import optimal_allocation
from scaling.calibrate import calibrate
from scaling.columns import column
from scaling.envelope import training_envelope
from scaling.export import write_tables
from scaling.isoflop import isoflop_minima
from scaling.laws.m4 import M4
from scaling.profile import profile_likelihood
from scaling.projection import project
from scaling.quantile import quantile_frontier
from scaling.runs import from_rows

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "experiments" / "sweeps" / "smoke.yaml")
RUNS = pd.DataFrame({
    "train_flops": 10.0 ** np.arange(8), "test_error": 0.5 / 2.0 ** np.arange(8), "width": np.arange(1, 9),
    "n_params": np.arange(1, 9) * 10, "n_train": np.arange(1, 9) * 100,
})  # fmt: skip

FILES = {
    "ways.csv": pd.concat([RUNS, RUNS.assign(technique="other")]).fillna({"technique": "baseline"}).to_csv(index=False),
    "torn/runs.csv": RUNS.to_csv(index=False),
    "torn/fits.json": "{}",
    "mine.csv": RUNS.to_csv(index=False),
    "empty.csv": "",
    "header.csv": "train_flops,test_error\n",
    "semicolons.csv": "train_flops;test_error\n1e9;0.5\n",
    "wide.csv": "train_flops,test_error\n1e9,0.5,7\n",
    "twice.csv": "train_flops,test_error,test_error\n1e9,0.5,0.1\n",
    "percent.csv": "train_flops,test_error\n1e9,0.5\n1e10,12.5\n",
    "share.csv": "train_flops,test_error\n1e9,50%\n",
    "thousands.csv": 'train_flops,test_error\n"1,000,000",0.5\n',
    "comma.csv": 'train_flops,test_error\n1e9,"0,5"\n',
    "mytotal.csv": 'total,test_error\n12,0.5\n"1,000",0.5\n',
    "negative.csv": "train_flops,test_error\n-1e9,0.5\n",
    "words.csv": "train_flops,test_error\n1e9,half\n",
    "status.csv": "train_flops,test_error,status\n1e9,0.5,done\n",
    "repeated.csv": "trial_id,train_flops,test_error\na,1e9,0.5\na,1e10,0.4\n",
    "failed.csv": "width,status,reason\n8,failed,the disk is full\n",
    "runs.txt": "train_flops\n1\n",
    "nonsense.parquet": "PAR",
    "doubled.yaml": "name: doubled\nfamily: mlp\nfamily: resnet\n",
    "nights/old/nightly/sweep.yaml": "name: nightly\n",
    "typo.yaml": "name: typo\ngird: {width: 8}\n",
    "list.yaml": "- 1\n- 2\n",
    "broken.yaml": "name: [\n",
    "empty-grid.yaml": "name: none\n",
    "empty-axis.yaml": "name: none\ngrid: {width: []}\n",
    "field.yaml": "name: f\ngrid: {witdh: [8]}\n",
    "nothing.yaml": "# to be written\n",
    "range-key.yaml": "name: r\ngrid: {width: {geometric: {form: 8, to: 64, points: 3}}}\n",
    "range-name.yaml": "name: r\ngrid: {width: {lgo2: [8, 64]}}\n",
    "range-less.yaml": "name: r\ngrid: {width: {geometric: {from: 8, to: 64}}}\n",
    "epoch.yaml": "name: e\ngrid: {width: [8], depth: [1], n_train: [32]}\ntraining: {epoch: 3}\n",
    "epoch-grid.yaml": "name: e\ngrid: {width: [8], epoch: [3]}\n",
    "epoch-top.yaml": "name: e\nepoch: 3\ngrid: {width: [8], depth: [1], n_train: [32]}\n",
    "flat/a.png": "",
    "flat/b.png": "",
    "unsplit/cat/a.png": "",
    "unsplit/dog/a.png": "",
    "flat-parts/train/a.png": "",
    "flat-parts/val/a.png": "",
    "shifting.py": "def load(shifted=None):\n    raise AssertionError\n",
    "range.yaml": "name: r\ngrid: {width: {log2: [0, 8]}}\n",
    "name.yaml": "name: a b\ngrid: {width: [8]}\n",
    "password.yaml": "name: p\ngrid: {width: [8]}\ntracking: {uri: 'http://me:secret@host'}\n",
    "raises.py": (
        "def load():\n    raise KeyError('labels.npy')\n\ndef floats():\n    import numpy as np\n"
        "    from experiments.data import dataset_from_arrays\n"
        "    part = (np.zeros((9, 8, 8)), np.zeros(9, int))\n    return dataset_from_arrays('mine', part, part)\n"
    ),
    "torn.py": "def load(:\n",
    "value.yaml": "name: v\ngrid: {width: [8], depth: [1], n_train: [32]}\ntraining: {epochs: -1}\n",
}

COMMANDS = [
    ("fit nowhere.csv", "there is no file nowhere.csv; give a results folder, a .parquet or a .csv"),
    ("fit .", "holds neither runs.parquet nor runs.csv; is it a results folder?"),
    ("fit runs.txt", "runs.txt ends in '.txt'; a runs table is .parquet or .csv"),
    ("fit nonsense.parquet", "nonsense.parquet cannot be read as a table: "),
    ("fit empty.csv", "empty.csv cannot be read as a table: "),
    ("fit header.csv", "header.csv: the runs table has no rows"),
    ("fit semicolons.csv", "cells are separated by commas"),
    ("fit wide.csv", "a row has more cells than its header (3 and 2); remove trailing commas"),
    ("fit twice.csv", "the column 'test_error' stands there twice; drop one"),
    ("fit percent.csv", "row 2: test_error is 12.5, but it lies in [0, 1]; divide percentages by 100"),
    ("fit share.csv", "row 1: test_error is '50%', but it is a number; write 0.5 for 50%"),
    ("fit thousands.csv", "is '1,000,000', but it is a number; write 1000000, without separators of thousands"),
    ("fit comma.csv", "row 1: test_error is '0,5', but it is a number; write 0.5, with a point"),
    ("fit mytotal.csv --cost total", "holds text where numbers are needed: '1,000' in row 2; write 1000, without"),
    ("fit mine.csv --cost test_error", "the column 'test_error' is both the cost and the error; name another with --c"),
    ("report mine.csv --error train_flops", "the column 'train_flops' is both the cost and the error; name another"),
    ("compare ways.csv --error n_params --cost n_params", "the column 'n_params' is both the cost and the error; name"),
    (
        "compare ways.csv --by seed",
        "the runs have a column but no option 'seed' to tell techniques apart by; they have width, n_train\n",
    ),
    ("compare ways.csv --by density", "the runs have no option 'density' to tell techniques apart by; they have width"),
    ("fit negative.csv", "row 1: train_flops is -1000000000.0, but it is not negative; leave unknown cells empty"),
    ("fit words.csv", "row 1: test_error is 'half', but it is a number"),
    ("fit status.csv", "row 1: status is 'done', but it is one of finished, diverged, failed, stopped"),
    ("fit repeated.csv", "row 2: trial_id 'a' occurs twice; keep one"),
    ("fit failed.csv", "of 1 trial none finished, so there is nothing to fit; the first said: the disk is full"),
    ("fit mine.csv --cost flops", "the runs table has no column 'flops'; it has "),
    ("fit mine.csv --error tset_error", "the runs table has no column 'tset_error'; it has "),
    ("fit mine.csv --law powr", "there is no law 'powr'; did you mean 'power'?"),
    (
        "fit mine.csv --law size_and_data",
        "law 'size_and_data' has the inputs size, data: a frontier needs a single cost",
    ),
    (
        "fit mine.csv --error err",
        "; name the one to take with --cost or --error (cost= or error= in Python), or rename",
    ),
    ("fit mine.csv --cost train_flop", "; did you mean 'train_flops'?"),
    (
        "fit mine.csv --out empty.csv",
        "empty.csv cannot be written to (empty.csv is a file); give --out and a folder that",
    ),
    ("report mine.csv --out empty.csv/in/it", "empty.csv is a file); give --out and a folder that you may write to"),
    (
        "compare ways.csv --out empty.csv",
        "empty.csv cannot be written to (empty.csv is a file); give --out and a folder",
    ),
    (
        "calibrate mine.csv --law power --sweeps 1 --figures empty.csv",
        "empty.csv cannot be written to (empty.csv is a ",
    ),
    (
        "init empty.csv/mine.yaml",
        "empty.csv cannot be written to (empty.csv is a file); name a file in a folder that you",
    ),
    ("report mine.csv --law powr", "there is no law 'powr'; did you mean 'power'?"),
    ("report torn", "fits.json is not what ninthpower fit writes (KeyError); run ninthpower fit again"),
    ("report nowhere", "there is no file nowhere"),
    ("runs mine.csv --sort widht", "the runs have no column 'widht'; they have "),
    ("runs mine.csv --columns width,depht", "the runs have no column 'depht'; they have "),
    ("runs mine.csv --status done", "status is 'done'; it is one of finished, diverged, failed, stopped"),
    ("export mine.csv", "mine holds no fits.json; run ninthpower fit mine.csv first"),
    (
        "fit http://127.0.0.1:9#digits",
        "no tracking server answers at http://127.0.0.1:9 (nothing listens there); start it",
    ),
    ("runs sqlite:///nowhere.db", "there is no MLflow store "),
    (
        "compare postgresql://h/db#digits",
        "is a database of the kind postgresql, which is read through its server; give",
    ),
    ("ui --results nowhere", "run ninthpower sweep first, or give --results"),
    ("plan nowhere.yaml", "there is no sweep file nowhere.yaml; the sweeps that ship are "),
    ("plan doubled.yaml", "the key 'family' is there twice, again in line 3; keep one of the two"),
    (
        "nightly --name old --nights nights",
        "there is a night old in nights already, and a night begins with nothing; give another --name, or judge that "
        "one with --results nights/old/nightly",
    ),
    ("plan typo.yaml", "unknown key 'gird'; did you mean 'grid'?"),
    ("plan list.yaml", "list.yaml holds list, not a mapping of keys to values"),
    ("plan nothing.yaml", "nothing.yaml is empty; ninthpower init writes a sweep file to begin with"),
    ("plan range-key.yaml", "; 'form' is no key of it: did you mean 'from'?"),
    ("plan range-name.yaml", "; 'lgo2' is no key of it: did you mean 'log2'?"),
    ("plan range-less.yaml", "; it lacks 'points'"),
    ("plan epoch.yaml", "epoch.yaml: training.epoch is no field of a trial; did you mean 'epochs'?"),
    ("plan epoch-grid.yaml", "grid.epoch is no field of a trial; did you mean 'epochs'?"),
    (
        "plan epoch-top.yaml",
        "unknown key 'epoch' at the top of the file; did you mean 'epochs' below training, or below grid for several",
    ),
    ("plan broken.yaml", "broken.yaml is no YAML: "),
    ("plan empty-grid.yaml", "the sweep has no trials: give a grid, points, or both"),
    ("plan empty-axis.yaml", "width is an empty list; give at least one value"),
    ("plan field.yaml", "grid.witdh is no field of a trial; did you mean 'width'?"),
    ("plan range.yaml", "width"),
    ("plan name.yaml", "'a b' is no name: use up to 64 letters, digits, '.', '_' and '-', a letter or digit first"),
    ("plan password.yaml", "an address with a password; a sweep file is kept in many places"),
    ("plan value.yaml", "value.yaml: training.epochs is -1, but it is above 0; leave it out for 30"),
    (f"plan {SMOKE} --set training.epochs=many", "epochs is 'many', but it is a number; leave it out for 30"),
    (f"plan {SMOKE} --set grid.seed=[99999999999999999999]", "seed is 99999999999999999999, but it is"),
    (f"plan {SMOKE} --set grid.width=[1.5]", "width is 1.5, but it is a whole number"),
    (f"plan {SMOKE} --set fit.laws=[]", "fit.laws is [], but it has at least 1 entry"),
    (f"plan {SMOKE} --set execution.device=tpu", "execution.device is 'tpu', but it is 'auto', 'cpu' or 'cuda'; leave"),
    (f"plan {SMOKE} --set fit.error=train_flops", "that is the cost too; name another column for one of the two\n"),
    (
        f"plan {SMOKE} --set grid.width",
        "--set 'grid.width' is not of the form key.path=value, such as grid.width=[8,16]",
    ),
    (f"plan {SMOKE} --set grid.width=[8", "is no YAML value"),
    (f"plan {SMOKE} --set name.first=8", "is no mapping in the sweep file"),
    (f"plan {SMOKE} --set dataset=digist", "there is no data set 'digist'; allowed are "),
    (f"plan {SMOKE} --set dataset=digits:x", "digits takes nothing after ':'; write 'digits'"),
    (f"plan {SMOKE} --set dataset=glyphs?size=1", "is a whole number from 8 to 256"),
    (f"plan {SMOKE} --set dataset=glyphs?sise=20", "glyphs knows no option 'sise'"),
    (f"plan {SMOKE} --set dataset=imagefolder:?size=64", "names no folder; write imagefolder:/path/to/folder?size=64"),
    (f"plan {SMOKE} --set dataset=imagefolder:/nowhere", "there is no folder /nowhere/train; an image folder holds "),
    (f"plan {SMOKE} --set dataset=nowhere:load", "install the package or put its folder on PYTHONPATH, on every node"),
    (
        f"plan {SMOKE} --set dataset=raises:load",
        "the data set 'raises:load' could not be loaded: KeyError: 'labels.npy' (raises.py, line 2); mend its function",
    ),
    (
        f"plan {SMOKE} --set dataset=raises:floats",
        "the data set 'raises:floats' could not be loaded: train images are float64; scale them to 0..255",
    ),
    (
        f"plan {SMOKE} --set dataset=torn:load",
        "the data set 'torn:load' cannot be imported: SyntaxError: ",
    ),
    (
        f"plan {SMOKE} --set grid.width=[4000000] --set grid.depth=[2]",
        "a training of mlp with width 4000000, depth 2 and batch_size 32 needs ",
    ),
    (f"sweep {SMOKE} --set grid.width=[4000000] --set grid.depth=[2]", "take a smaller width, depth or batch_size"),
    (f"plan {SMOKE} --set resources.memory_gib=1000000", "resources.memory_gib is 1e+06, but this machine has "),
    (f"plan {SMOKE} --set family=restnet", "there is no model family 'restnet'; it is one of "),
    (f"plan {SMOKE} --set family=nowhere:build", "cannot be imported"),
    (f"plan {SMOKE} --set grid.technique=baselin", "there is no technique 'baselin'; did you mean 'baseline'?"),
    (f"plan {SMOKE} --set grid.n_train=[5000]", "n_train is 5000, but digits has 1100 training examples in 10 classes"),
    (f"plan {SMOKE} --set energy.region=XXX", "region 'XXX' is in none of codecarbon's tables; give a country code"),
    (
        "init mine.yaml --data nowhere",
        "there is no folder nowhere; give one that holds train/CLASS/*.jpeg and val/CLASS/*.jpeg",
    ),
    ("init mine.yaml --data flat", "flat (2) into a folder per class below train/ and below val/"),
    (
        "init mine.yaml --data unsplit",
        ": move class folders such as cat/ below train/, and a part of the images of each",
    ),
    (
        "init mine.yaml --data flat-parts",
        "holds 0 class folders; at least 2 are needed: sort the images that lie in it (1) into a folder per class",
    ),
    (
        "init flat",
        "flat is a folder; name the sweep file to write, such as mine.yaml, and a folder of images by --data",
    ),
    (
        "init /nowhere",
        "/nowhere does not end in .yaml; name the sweep file to write, such as mine.yaml, and a folder of",
    ),
    (
        f"plan {SMOKE} --set dataset=shifting:load?shifted=there",
        "has an argument of that name, which would not be given",
    ),
    ("submit --json mine.yaml", "--json goes with --list"),
    ("init mine.yaml --data . --dataset digits", "--data . and --dataset digits are both given; give one"),
    ("init typo.yaml", "typo.yaml exists; give --force to replace it, or name another file"),
    ("calibrate mine.csv --truth E=0.1", "--truth names E, but the law 'saturating' has E, A, alpha"),
    ("calibrate mine.csv --truth E=big", "--truth holds 'E=big', which is not of the form name=number; give "),
    (f"calibrate {SMOKE}", "has no errors yet, so give the truth and its noise, such as --truth "),
    ("literature nowhere.csv", "there is no file nowhere.csv; give a csv of published results"),
    ("literature somewhere", "the source is 'somewhere', but it is one of "),
    ("literature --as-published --law power", "--as-published takes the study's own results, measures and laws"),
    ("literature --benchmark ImagNet", "ImagNet"),
    ("project --target -1", "the error target is -1.0, but it is a number above 0, such as 0.05"),
]


@pytest.mark.parametrize(("line", "message"), COMMANDS, ids=[re.sub(r"\S*/", "", line) for line, _ in COMMANDS])
def test_a_command_says_what_is_wrong_in_one_sentence(ninthpower, tmp_path, monkeypatch, line, message):
    """Exit code 2, one line on standard error, nothing on standard output, no file written."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("raises", "torn", "shifting"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    done = ninthpower(*line.split(" "))

    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("ninthpower: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    allowed = {"runs.csv", "runs.parquet"} if "none finished" in message else set()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file() and path not in before} <= allowed


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        (
            f"sweep {SMOKE} --quiet --results archive",
            "give --results or --out and a folder that you may write to",
        ),
        (f"plan {SMOKE} --results archive", None),
        ("fit mine.csv --out archive/fitted", "give --out and a folder that you may write to"),
        ("report mine.csv --out archive", "give --out and a folder that you may write to"),
        ("init archive/mine.yaml", "name a file in a folder that you may write to"),
    ],
)
def test_a_folder_that_is_read_only_is_said_in_a_sentence(ninthpower, tmp_path, read_only, line, remedy):
    """Which folder, and what to give instead; what only reads does not mind."""
    (tmp_path / "mine.csv").write_text(FILES["mine.csv"])
    (tmp_path / "archive").mkdir()
    read_only(tmp_path / "archive")

    done = ninthpower(*line.split(" "))

    if remedy is None:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert "archive" in done.stderr
    assert re.search(r"\((read-only file system|permission denied)\)", done.stderr, re.IGNORECASE)
    assert done.stderr.endswith(f"; {remedy}\n")


def fitted(law="power"):
    """A fit to the table."""
    return scaling.bootstrap(RUNS, law=law, n_resamples=50)


CALLS = [
    (lambda: scaling.fit([1, 2]), "a runs table is a pandas DataFrame, not list"),
    (lambda: scaling.check_runs(RUNS.iloc[:0]), "the runs table has no rows"),
    (lambda: scaling.check_runs(pd.concat([RUNS, RUNS[["width"]]], axis=1)), "has the column 'width' twice; drop one"),
    (lambda: scaling.check_runs(RUNS.assign(width=1.5)), "row 1: width is 1.5, but it is a whole number"),
    (lambda: scaling.check_runs(RUNS.assign(test_error=-0.1)), "row 1: test_error is -0.1, but it lies in [0, 1]"),
    (lambda: scaling.check_runs(RUNS.assign(train_flops=np.inf)), "is finite; leave unknown cells empty"),
    (lambda: scaling.check_runs(RUNS.assign(inference_seconds=0.0)), "is above 0; leave unknown cells empty"),
    (lambda: from_rows([{"test_error": 2}]), "row 1: test_error is 2, but it lies in [0, 1]; divide percentages"),
    (lambda: column("tset_error"), "the runs table knows no column 'tset_error'; did you mean 'test_error'?"),
    (lambda: scaling.get_law("sturating"), "there is no law 'sturating'; did you mean 'saturating'?"),
    (lambda: scaling.get_law("power").predict({"A": 1.0}, 1.0), "has the parameters A, alpha; missing: alpha"),
    (lambda: scaling.get_law("power").predict({"A": 1.0, "alpha": 1.0}, -1.0), "holds a value that is not positive"),
    (lambda: scaling.get_law("power").predict({"A": 1.0, "alpha": 1.0}, 1.0, 2.0), "takes 1 inputs (cost), not 2"),
    (lambda: scaling.get_law("size_and_data").inverse({}, 0.1), "many points reach the same error"),
    (lambda: M4(guessing_error=0.0), "guessing_error is 0.0, but it is above 0; 0.9 for ten equal classes"),
    (lambda: scaling.fit(RUNS, "size_and_data", frontier=True), "a frontier needs a single cost"),
    (lambda: scaling.fit(RUNS, "power", cluster="budget"), "the runs table has no column 'budget' to resample by"),
    (lambda: scaling.fit(RUNS.assign(c="x"), "power", cost="c"), "holds text where numbers are needed"),
    (lambda: scaling.fit(RUNS.iloc[:2], "power").predict(1.0), "was not fitted, so it predicts nothing: "),
    (lambda: scaling.fit(RUNS, "power").inverse(0.0), "the wanted error is 0.0, but it is above 0"),
    (lambda: scaling.bootstrap(RUNS, n_resamples=5), "n_resamples is 5, but it is a whole number from 20"),
    (lambda: scaling.bootstrap(RUNS, level=95), "level is 95, but it lies between 0 and 1; 0.95 is usual"),
    (lambda: scaling.bootstrap(RUNS, seed=-1), "seed is -1, but it is a whole number from 0"),
    (lambda: scaling.bootstrap(RUNS, method="bac"), "method is 'bac', but it is one of percentile, bca, basic"),
    (lambda: fitted().interval("beta"), "there is no parameter 'beta'; there are A, alpha, exponent"),
    (lambda: scaling.bootstrap(RUNS.iloc[:2], "power").band(1.0), "there is no band: "),
    (lambda: scaling.backtest(RUNS, []), "laws is empty, but a backtest compares at least one"),
    (lambda: scaling.backtest(RUNS, cuts=[50]), "cuts are (50,), but each lies between 0 and 1"),
    (lambda: calibrate(RUNS, n_sweeps=0), "n_sweeps is 0, but it is at least 1; 200 is usual"),
    (lambda: calibrate(RUNS.drop(columns="test_error")), "give parameters and seed_noise, the truth to draw from"),
    (lambda: scaling.draw_runs("power", {"A": 1, "alpha": 1}, {}), "law 'power' needs values for cost"),
    (lambda: scaling.draw_runs("power", {"A": 1, "alpha": 1}, {"cost": [1]}, n_seeds=0), "one seed at least"),
    (lambda: project(fitted(), [0.0]), "the error target is 0.0, but it is a number above 0, such as 0.05"),
    (lambda: project(fitted(), [0.01])[0].years(1.0), "growth_per_year is 1.0, but it is a factor above 1, such as 10"),
    (lambda: profile_likelihood(fitted().fit, "E"), "law 'power' has no parameter 'E'; it has A, alpha"),
    (lambda: quantile_frontier(RUNS, 10), "quantile is 10, but it lies between 0 and 1; 0.1 for a frontier"),
    (lambda: training_envelope(RUNS, error="loss"), "the curves have no column 'loss'; they have "),
    (lambda: isoflop_minima(RUNS), "budget"),
    (lambda: optimal_allocation({"A": 1}, 1.0, flops_per_param_example=6), "an allocation needs A, alpha, B and beta"),
    (lambda: optimal_allocation(dict.fromkeys(("A", "alpha", "B", "beta"), 1.0), 1.0, flops_per_param_example=0),
     "flops_per_param_example is 0, but it is positive and finite"),
    (lambda: figures.slice_table(RUNS, "n_train", "depth"), "the runs have no column 'depth'; they have "),
    (lambda: figures.fan_table(scaling.bootstrap(RUNS.iloc[:2], "power")), "the power law has no projection: "),
    (lambda: write_tables({}, Path(), "xlsx"), "the format is 'xlsx'; it is one of csv, parquet, latex"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message[:50] for _, message in CALLS])
def test_a_function_says_what_is_wrong_in_one_sentence(call, message):
    """As a ValueError with the value, what is allowed, and the remedy."""
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call()

    assert "\n" not in str(caught.value)


def messages():
    """Every message that is raised with a ValueError in the program, its parts that are filled in as ``{}``."""
    for package in ("scaling", "experiments", "cluster"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                    continue
                if getattr(node.exc.func, "id", "") != "ValueError":
                    continue
                first = node.exc.args[0]
                if isinstance(first, ast.Constant):
                    yield f"{path.name}:{node.lineno}", str(first.value)
                elif isinstance(first, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in first.values)
                    yield f"{path.name}:{node.lineno}", "".join(map(str, parts))


def test_every_message_is_one_sentence_that_goes_on_after_the_programs_name():
    """No full stop at its end, no line break, no capital that begins a second sentence, no shouting."""
    found = list(messages())
    assert len(found) > 150
    wrong = [
        (place, words)
        for place, words in found
        if words.endswith((".", "!", ": "))
        or "\n" in words
        or re.search(r"[.!] [A-Z]", words)
        or re.match(r"[A-Z][a-z]+ ", words)
    ]
    assert wrong == []


def test_json_on_standard_output_is_json_alone(ninthpower, tmp_path):
    """Whatever a command that prints tables says besides goes elsewhere."""
    (tmp_path / "mine.csv").write_text(FILES["mine.csv"])
    for line in ("fit mine.csv --law power", "runs mine.csv", "report mine.csv", "export mine.csv",
                 "calibrate mine.csv --law power --sweeps 3"):  # fmt: skip
        done = ninthpower(*line.split(" "), "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


def test_commands_for_people_end_with_the_next_one(ninthpower, tmp_path):
    """What to type after it."""
    (tmp_path / "mine.csv").write_text(FILES["mine.csv"])
    for line, following in (
        ("fit mine.csv --law power", "next: open mine/report.html"),
        ("runs mine.csv", "next: ninthpower fit mine.csv"),
        ("report mine.csv", "next: open mine/report.html"),
        ("export mine.csv", "next: open mine/export/export.json"),
        ("literature --rows", "next: ninthpower literature"),
        ("literature --as-published", "next: ninthpower literature"),
        ("literature --benchmark ImageNet --law power", "next: ninthpower project --benchmark ImageNet"),
        ("project", "next: ninthpower theory"),
        ("project --history", "next: ninthpower project"),
        ("project mine.csv", "next: ninthpower theory mine.csv"),
        ("theory mine.csv", "next: ninthpower project mine.csv"),
        ("theory --simulations 2 --features 20 --relevant 2", "next: ninthpower literature"),
        ("calibrate mine.csv --law power --sweeps 3", "next: ninthpower fit mine.csv"),
        ("init mine.yaml", "next: ninthpower plan mine.yaml"),
    ):
        assert ninthpower(*line.split(" ")).stdout.splitlines()[-1] == following


def test_the_coverage_of_a_design_is_drawn_on_request(ninthpower, tmp_path):
    """With its numbers beside it."""
    (tmp_path / "mine.csv").write_text(FILES["mine.csv"])
    done = ninthpower("calibrate", "mine.csv", "--law", "power", "--sweeps", "3", "--figures", "drawn")

    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"coverage.png", "coverage.svg", "coverage.csv"}
    assert "drawn/coverage.png" in done.stdout


def test_the_shell_completes_commands():
    """As typer's completion asks for them."""
    from typer.testing import CliRunner

    from experiments.cli import app

    done = CliRunner().invoke(
        app, [], prog_name="ninthpower",
        env={"_NINTHPOWER_COMPLETE": "complete_bash", "COMP_WORDS": "ninthpower ex", "COMP_CWORD": "1"},
    )  # fmt: skip

    assert "export" in done.output.split()
