"""The command line: what a person who errs is told, and that it is one sentence with exit code 2."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "experiments" / "sweeps" / "smoke.yaml"
RUNS = "train_flops,test_error\n" + "".join(f"{10**power},{0.5 / 2**power}\n" for power in range(8))


@pytest.fixture
def csv(tmp_path):
    """A small table of runs."""
    path = tmp_path / "mine.csv"
    path.write_text(RUNS)
    return path


def test_a_csv_is_fitted_and_the_files_are_named(ninthpower, csv, tmp_path):
    """The exponent of the runs is log2(10), and the paths are printed."""
    done = ninthpower("fit", csv, "--law", "power", "--out", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert "to the power 3.32 [" in done.stdout
    assert str(tmp_path / "out" / "fits.json") in done.stdout


def test_json_for_machines(ninthpower, csv, tmp_path):
    """The same numbers, nothing else on standard output."""
    done = ninthpower("fit", csv, "--law", "power", "--out", tmp_path / "out", "--json")

    assert json.loads(done.stdout)["fits"][0]["fit"]["law"] == "power"


def test_runs_are_listed(ninthpower, csv):
    """As a table and as JSON."""
    assert "8 runs" in ninthpower("runs", csv).stdout
    assert len(json.loads(ninthpower("runs", csv, "--json").stdout)) == 8


def cells(line):
    """What stands between the bars of a printed table."""
    return [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]


def test_a_plan_says_each_thing_once_and_under_its_name(ninthpower, tmp_path):
    """Money where there is a price, what is shared where something is, the time beside the trials."""
    tiny = ["--set", "grid.seed=[0]", "--set", "grid.width=[4]", "--results", tmp_path / "results"]
    shared = ["--set", "grid.technique=[{distillation: {teacher_width: 8, temperature: [2.0, 4.0]}}]"]
    plain = ninthpower("plan", SMOKE, *tiny).stdout
    priced = ninthpower("plan", SMOKE, *tiny, *shared, "--set", "energy.price_per_hour=0.5").stdout

    for printed, names in ((plain, []), (priced, ["money left"])):
        header, row = (cells(line) for line in printed.splitlines() if line[:1] in "┃│")
        assert header == [
            "technique", "trials", "done", "parameters", "FLOP charged", "FLOP to do", "memory of a trial", "time left",
            "energy left", *names,
        ]  # fmt: skip
        by_name = dict(zip(header, row, strict=True))
        assert by_name["time left"].endswith(" s")
        assert by_name["memory of a trial"].endswith("MiB")
        assert "17 s more" in printed
    assert by_name["money left"].endswith(" USD")
    assert float(by_name["FLOP to do"].split()[0]) < float(by_name["FLOP charged"].split()[0])
    assert ("is charged to each" in plain, "is charged to each" in priced) == (False, True)
    assert ("No money" in plain, "No money" in priced) == (True, False)


def test_a_plan_spends_nothing(ninthpower, tmp_path):
    """It says what would be run, and leaves no file."""
    done = ninthpower("plan", SMOKE, "--results", tmp_path / "results", "--json", "--set", "grid.seed=[0]")
    plan = json.loads(done.stdout)

    assert plan["lines"][0]["n_trials"] == 18
    assert len(plan["trials"]) == 18
    assert plan["lines"][0]["flops"] == pytest.approx(sum(trial["flops"] for trial in plan["trials"]))
    assert plan["lines"][0]["seconds_left"] > 0
    assert not (tmp_path / "results").exists()


def test_a_design_is_calibrated_before_and_after_it_is_run(ninthpower, csv):
    """On a table with the truth of its fit, on a sweep file with a truth of one's own."""
    after = ninthpower("calibrate", csv, "--law", "power", "--sweeps", "5", "--json")
    before = ninthpower(
        "calibrate",
        SMOKE,
        "--law",
        "power",
        "--truth",
        "A=1000,alpha=0.5",
        "--noise",
        "0.05",
        "--sweeps",
        "5",
        "--json",
    )

    for done, alpha in ((after, 0.30103), (before, 0.5)):
        truths = {row["quantity"]: row["truth"] for row in json.loads(done.stdout)["quantities"]}
        assert truths["alpha"] == pytest.approx(alpha, rel=1e-4), done.stderr


ERRORS = [
    (["calibrate", str(SMOKE), "--law", "power"], "has no errors yet, so give the truth and its noise"),
    (["calibrate", "mine.csv", "--truth", "E=0.1"], "--truth names E, but the law 'saturating' has E, A, alpha"),
    (["calibrate", "mine.csv", "--truth", "E=big"], "'E=big', which is not of the form name=number"),
    (["fit", "nowhere.csv"], "there is no file nowhere.csv; give a results folder, a .parquet or a .csv"),
    (["fit", "."], "holds neither runs.parquet nor runs.csv; is it a results folder?"),
    (["fit", "mine.csv", "--cost", "flops"], "flops"),
    (["fit", "mine.csv", "--law", "powr"], "powr"),
    (["fit", "broken.csv"], "row 2: test_error is 1.5, but it lies in [0, 1]; divide percentages by 100"),
    (["runs", "mine.csv", "--sort", "widht"], "the runs have no column 'widht'"),
    (["runs", "mine.csv", "--status", "done"], "status is 'done'; it is one of finished, diverged, failed, stopped"),
    (["ui", "--results", "nowhere"], "run ninthpower sweep first, or give --results"),
    (["plan", "nowhere.yaml"], "there is no sweep file nowhere.yaml; the sweeps that ship are"),
    (["plan", "typo.yaml"], "unknown key 'gird'; did you mean 'grid'?"),
    (["plan", str(SMOKE), "--set", "grid.width"], "is not of the form key.path=value"),
    (["plan", str(SMOKE), "--set", "dataset=digist"], "digist"),
    (["plan", str(SMOKE), "--set", "family=restnet"], "restnet"),
    (["plan", str(SMOKE), "--set", "grid.technique=baselin"], "did you mean 'baseline'?"),
    (["plan", str(SMOKE), "--set", "grid.n_train=[5000]"], "n_train is 5000, but digits has 1100 training examples"),
    (["plan", str(SMOKE), "--set", "energy.region=XXX"], "region 'XXX' is in none of codecarbon's tables"),
    (["plan", str(SMOKE), "--set", "family=vit", "--set", "grid.width=[7]"], "7"),
    (["sweep", str(SMOKE), "--tracking-uri", "ftp://example"], "ftp://example"),
]


@pytest.mark.parametrize(("arguments", "words"), ERRORS, ids=[" ".join(map(str, one[0]))[-60:] for one in ERRORS])
def test_an_error_of_the_users_is_one_sentence(ninthpower, tmp_path, arguments, words):
    """The value, what is allowed, the remedy; exit code 2; no traceback; nothing half-written."""
    (tmp_path / "mine.csv").write_text(RUNS)
    (tmp_path / "broken.csv").write_text("train_flops,test_error\n1e9,0.5\n1e10,1.5\n")
    (tmp_path / "typo.yaml").write_text("name: typo\ngird: {width: 8}\n")
    done = ninthpower(*arguments)

    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("ninthpower: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr


def test_resources_that_no_machine_has_are_refused_at_once(tmp_path):
    """In a process of its own, since it connects to Ray."""
    command = [sys.executable, "-m", "experiments.cli", "sweep", SMOKE, "--set", "resources.cpus=10000"]
    done = subprocess.run(
        [*command, "--results", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 2, done.stderr
    assert "10000" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", [0, 2])
def test_debug_gives_the_traceback_and_the_same_exit_code(ninthpower, place):
    """For the one who mends it, anywhere on the line; the sentence is the last line, and the next command has none."""
    line = ["fit", "nowhere.csv"]
    plain = ninthpower(*line)
    debugged = ninthpower(*line[:place], "--debug", *line[place:], traceback=True)

    assert (plain.returncode, debugged.returncode) == (2, 2)
    assert debugged.stderr.startswith("Traceback (most recent call last)")
    assert debugged.stderr.endswith(plain.stderr)
    assert ninthpower(*line).stderr == plain.stderr


def test_the_version_is_that_of_the_package(ninthpower):
    """As pyproject.toml has it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert ninthpower("--version").stdout == f"ninthpower {version}\n"


def test_help_is_there_at_once():
    """It loads no library of numbers, pictures or networks: within half a second, where each of these takes one."""
    code = (
        "import sys; from experiments.cli import main; sys.argv = ['ninthpower', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sorted({'numpy', 'pandas', 'scipy', 'matplotlib', 'torch', 'ray', 'mlflow', 'yaml', 'pydantic'}"
        " & set(sys.modules)), file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "Usage" in answer.stdout
    assert answer.stderr.strip() == ""


def test_every_command_explains_itself(ninthpower):
    """A purpose and an example each."""
    for command in ("plan", "sweep", "fit", "report", "runs", "calibrate", "ui"):
        assert "Example: ninthpower " + command in " ".join(ninthpower(command, "--help").stdout.split())
