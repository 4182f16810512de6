"""What the pages show to type is there: their Python runs, their commands and options exist."""

import ast
import re
import shlex
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import typer

import scaling
from experiments.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Options of other programs that the pages name.
FOREIGN = {"--allowed-hosts", "--host", "--static-prefix", "--port", "--backend-store-uri", "--default-artifact-root"}
# Blocks that need what a test has not: a trained model, a server. Their imports are tried, and their calls elsewhere.
NEEDS_MORE = ("load_model(", "http://127.0.0.1:5000")


FENCED = re.compile(r"^```([a-z]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def python_blocks(page):
    """What the page shows to type into a notebook, block by block."""
    return [block for language, block in FENCED.findall(page.read_text(encoding="utf-8")) if language == "python"]


def code(page):
    """Every line of a page's fenced blocks but Python's, and what stands between single backticks."""
    text = page.read_text(encoding="utf-8")
    for language, block in FENCED.findall(text):
        yield from block.splitlines() if language != "python" else ()
    for paragraph in FENCED.sub("", text).split("\n\n"):
        yield from (" ".join(words.split()) for words in re.findall(r"`([^`]+)`", paragraph))


def commands():
    """Options of every command of ninthpower, those of the program itself under the empty name."""
    group = typer.main.get_command(app)
    shared = {"--help", "-h", "--debug"}
    found = {"": {option for one in group.params for option in one.opts} | shared}
    for name, command in group.commands.items():
        found[name] = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | shared
    return found


def technique_runs():
    """Two techniques on the same cells, the second cheaper to train and to use, and with a teacher as a phase."""
    rows = []
    generator = np.random.default_rng(0)
    for technique, factor in (("baseline", 1.0), ("distillation", 0.5)):
        for flops in np.geomspace(1e9, 1e13, 8):
            for seed in range(3):
                rows.append({
                    "technique": technique, "width": round(np.log10(flops) * 10), "seed": seed,
                    "train_flops": flops * factor, "inference_flops": flops * factor / 1e4,
                    "train_flops_teacher": 0.1 * flops if technique == "distillation" else 0.0,
                    "test_error": 30 * flops**-0.2 * np.exp(0.02 * generator.normal()),
                })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the examples read, in which they run."""
    matplotlib.use("Agg")
    runs = scaling.draw_runs(
        "saturating", {"E": 0.02, "A": 90.0, "alpha": 0.25}, {"cost": np.geomspace(1e8, 1e16, 25)}, seed_noise=0.02
    )
    for folder, table in (("digits", runs), ("techniques", technique_runs())):
        (tmp_path / "results" / folder).mkdir(parents=True)
        table.to_csv(tmp_path / "results" / folder / "runs.csv", index=False)
    runs.to_csv(tmp_path / "runs.csv", index=False)
    np.save(tmp_path / "images.npy", np.zeros((1300, 8, 8), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(1300) % 10)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, place):
    """Block after block in one session, as a reader types it."""
    names = {}
    for block in python_blocks(page):
        source = block.replace("/data/", f"{place}/")
        if any(words in block for words in NEEDS_MORE):
            imports = [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)]
            source = ast.unparse(ast.Module(imports, []))
        exec(compile(source, str(page), "exec"), names)
    if "load" in names:
        info = names["load"]().info
        assert (info.n_train + info.n_validation, info.n_test) == (300, 1000)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_exist_with_the_options_they_are_given(page):
    """Each ``ninthpower COMMAND --option`` of the page."""
    known = commands()
    for words in code(page):
        for line in re.findall(r"\bninthpower ((?:--?[a-z]|[a-z])[^#|;`]*)", words):
            command = line.split()[0] if not line.startswith("-") else ""
            assert command in known, words
            given = set(re.findall(r"(?<!\S)\[?(--[a-z][a-z-]*)", line))
            assert given - {"--install-completion"} <= known[command], words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_options_that_a_page_names_alone_exist(page):
    """In a command, or in a script of benchmarks/ that the page names."""
    text = page.read_text(encoding="utf-8")
    scripts = [ROOT / name for name in re.findall(r"(?:benchmarks|deploy)/\w+\.py", text)]
    sources = "".join(script.read_text(encoding="utf-8") for script in scripts)
    known = set().union(FOREIGN, *commands().values())
    named = {option for words in code(page) for option in re.findall(r"^--[a-z][a-z-]+", words)}

    assert {option for option in named - known if f'"{option}"' not in sources} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_scripts_that_a_page_names_are_there(page):
    """Of benchmarks/, with the options that they are given."""
    for words in code(page):
        found = re.search(r"python ((?:benchmarks|deploy)/\w+\.py)(.*)", words)
        if found is None:
            continue
        source = (ROOT / found[1]).read_text(encoding="utf-8")
        for option in re.findall(r"(?<!\S)(--[a-z][a-z-]*)", found[2]):
            assert f'"{option}"' in source, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_of_scaling_is_found_after_importing_it(page):
    """`scaling.module.function` as it stands there."""
    for words in code(page):
        for dotted in re.findall(r"^(scaling(?:\.\w+)+)\b(?!\.py|/)", words):
            value = scaling
            for name in dotted.split(".")[1:]:
                assert hasattr(value, name), dotted
                value = getattr(value, name)


def test_the_help_names_no_other_options_than_there_are():
    """In the examples of every command."""
    known = commands()
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        for line in re.findall(r"Example: (ninthpower [^\n]*)", command.help or ""):
            words = shlex.split(line)
            assert words[1] == name
            assert {word for word in words if word.startswith("--")} <= known[name], line
