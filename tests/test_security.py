"""What docs/security.md says of the code, read from the code and tried on it."""

import ast
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.mlflow_errors import without_password
from cluster.records import record_path
from cluster.storage import open_storage, without_secrets
from experiments.sweep import parse_sweep
from scaling.tracked import TrackedRuns
from scaling.tracked.server import ServerStore

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file
    for folder in ("cluster", "experiments", "scaling", "deploy", "benchmarks")
    for file in (ROOT / folder).rglob("*.py")
)
# Where pickles are read: functions that the driver sent through Ray, and Tune's note of an error in a private folder.
READS_PICKLES = {"cluster/attempt.py", "cluster/trainable.py"}


def calls(file):
    """Every call in a file: its dotted name and its keyword arguments."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


def places(unwanted):
    """Where a call is of an unwanted kind."""
    return {
        f"{file.relative_to(ROOT)}: {name}"
        for file in FILES
        for name, keywords in calls(file)
        if unwanted(name, keywords)
    }


def test_nothing_reaches_a_shell():
    """No shell=True, no os.system; commands are lists."""
    assert not places(
        lambda name, words: (
            words.get("shell") not in (None, "False")
            or name in ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn")
        )
    )


def test_yaml_is_read_safely():
    """Nothing but safe_load and safe_dump."""
    assert not places(lambda name, _: name.startswith("yaml.") and name not in ("yaml.safe_load", "yaml.safe_dump"))


def test_weights_are_read_without_running_them():
    """torch.load says so itself, whatever its default is."""
    assert not places(lambda name, words: name == "torch.load" and words.get("weights_only") != "True")
    assert not places(lambda name, words: name in ("numpy.load", "np.load") and words.get("allow_pickle") == "True")


def test_pickles_are_read_only_where_ray_brings_them():
    """And nothing is evaluated as a program."""
    readers = places(lambda name, _: re.search(r"(pickle|dill|joblib|shelve|marshal)\.(load|loads|open)$", name))

    assert {place.split(":")[0] for place in readers} <= READS_PICKLES
    assert not places(lambda name, _: name in ("eval", "exec", "pandas.read_pickle", "pd.read_pickle"))


def test_the_scan_sees_what_it_looks_for(tmp_path):
    """So that the tests above can fail."""
    bad = tmp_path / "bad.py"
    bad.write_text("import torch, subprocess\ntorch.load('x')\nsubprocess.run('x', shell=True)\n")

    assert dict(calls(bad)) == {"torch.load": {}, "subprocess.run": {"shell": "True"}}


TEXT = st.text(alphabet=string.printable + "äß€\0\u202e/\\..~$`", max_size=80)


@given(TEXT)
def test_no_trial_id_leaves_its_folder(trial_id):
    """Whatever it is: refused, or a file right there."""
    folder = Path("/results/here")
    try:
        path = record_path(folder, trial_id)
    except ValueError:
        return
    assert path.parent == folder
    assert path.resolve().parent == folder
    assert not re.search(r"[^A-Za-z0-9._-]", path.name)
    assert not path.name.startswith(".")


@given(TEXT)
def test_no_sweep_name_leaves_the_results(name):
    """Nor is it anything that a shell would read."""
    try:
        sweep = parse_sweep({"name": name, "grid": {"width": [4], "depth": 1, "n_train": 50}})
    except ValueError:
        return
    assert (Path("/results") / sweep.name).resolve().parent == Path("/results")
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", sweep.name)


@pytest.mark.parametrize("secret", ["hunter2", "hunt/er2", "hunt@er2"])
def test_a_password_in_a_sweep_file_is_refused_and_not_repeated(secret):
    """It would be kept in results, MLflow and git."""
    uri = f"http://ada:{secret}@tracking.example.com"
    with pytest.raises(ValueError, match="an address with a password") as caught:
        parse_sweep({"name": "x", "tracking": {"uri": uri}, "grid": {"width": [4]}})

    assert "hunt" not in str(caught.value)
    assert "er2" not in str(caught.value)
    assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:hunter2@bucket/x?region=a", "s3://bucket/x"),
        ("s3://bucket/x?access_key=a&secret_key=hunter2", "s3://bucket/x"),
        ("s3://key:hunt/er2@bucket/x", "s3://bucket/x"),
        ("s3://key:hunt@er2@bucket/x", "s3://bucket/x"),
        ("gs://bucket/x", "gs://bucket/x"),
        ("gs://bucket/for@team", "gs://bucket/for@team"),
        ("file:///home/ada@example.com/x", "file:///home/ada@example.com/x"),
    ],
)
def test_keys_in_a_storage_address_are_not_shown(uri, shown):
    """Neither before the @ nor behind the question mark."""
    assert without_secrets(uri) == shown


@pytest.mark.parametrize("secret", ["hunter2", "hunt/er2", "hunt@er2"])
def test_a_password_is_shown_by_nobody_whatever_it_holds(secret):
    """SQLAlchemy takes both unquoted, and a key of S3 with a slash is what pyarrow complains of."""
    uri = f"postgresql://ada:{secret}@tracking.example.com/runs"

    assert without_password(f"no answer from {uri} now") == "no answer from postgresql://tracking.example.com/runs now"
    assert TrackedRuns(f"http://ada:{secret}@h:5000", "digits").shown_address == "http://h:5000"
    assert ServerStore(f"http://ada:{secret}@h:5000").shown == "http://h:5000"


def test_a_key_that_makes_no_address_is_not_in_the_complaint():
    """A slash in it ends the host, and pyarrow repeats the whole in its message."""
    with pytest.raises(ValueError, match="storage 's3://bucket/x/digits/trials' cannot be opened") as caught:
        open_storage("s3://key:hunt/er2@bucket/x", "digits")

    assert "hunt" not in str(caught.value)
    assert "er2" not in str(caught.value)


def test_workflows_and_launch_files_hold_no_secret():
    """Nothing that looks like a key is in the repository."""
    looks_secret = re.compile(
        r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|ghp_[A-Za-z0-9]{36}"
        r"|(?i:password|secret_key)\s*[:=]\s*['\"]\w{8,}"
    )
    texts = [*ROOT.glob("*.yaml"), *(ROOT / "deploy").glob("*"), *(ROOT / "docs").glob("*.md")]

    assert texts
    assert not [path.name for path in texts if looks_secret.search(path.read_text(encoding="utf-8"))]
