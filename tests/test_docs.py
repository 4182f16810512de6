"""The pages of docs/ become a site without a warning, and name nothing that is not there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scaling
from experiments.exit_codes import MEANINGS

ROOT = Path(__file__).parents[1]


def test_the_site_builds_without_a_warning(tmp_path):
    """Every link leads somewhere, every documented name exists."""
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed: pip install '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    page = (tmp_path / "site" / "api.html").read_text()
    assert 'id="scaling.fit.fit"' in page
    # The site fetches nothing from elsewhere.
    assert not re.findall(r"""(?:src|href)=["'](https?://[^"']+\.(?:js|css|woff2?))""", page)


def test_what_scaling_offers_is_in_the_api():
    """Whatever `from scaling import ...` gives is described there, under the module it comes from."""
    page = (ROOT / "docs" / "api.md").read_text()
    described = set(re.findall(r"^::: \S+\.(\w+)$", page, flags=re.MULTILINE))

    assert {name for name in scaling.__all__ if name != "LAWS"} <= described


def test_the_exit_codes_of_the_page_are_those_of_the_help():
    """The same numbers with the same words; a page that has a table of its own names no others."""
    page = (ROOT / "docs" / "reading-results.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, flags=re.MULTILINE)
    assert {int(code): words.replace("`", "") for code, words in rows} == {
        int(code): meaning for code, meaning in MEANINGS.items()
    }

    for other in (ROOT / "docs").rglob("*.md"):
        named = re.findall(r"[Ee]xit codes? (\d+)", other.read_text())
        assert {int(code) for code in named} <= set(MEANINGS)
