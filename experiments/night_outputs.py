"""What a team reads of a night: step summary, comment, JUnit XML, figure; and night.json for the nights to come."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.compare import Verdict
from scaling.export import write_json
from scaling.guard.finding import quantity_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.nightly import JudgedNight
    from scaling.guard import Drift, Finding

OUTPUT_FOLDER = "night"
# By this a workflow finds its own comment again, to write over it.
COMMENT_MARK = "<!-- ninthpower nightly -->"
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
_WORDS = {
    Verdict.SHIFTS: "cheaper", Verdict.COSTS_MORE: "**dearer**", Verdict.EQUIVALENT: "no difference",
    Verdict.CANNOT_TELL: "cannot tell", Verdict.REFUSED: "no number",
}  # fmt: skip
_UNCLEAR = (Verdict.REFUSED, Verdict.CANNOT_TELL)


def write_night(judged: JudgedNight, results: Path) -> Path:
    """Write everything of a judged night into its results folder; return the folder.

    night.json comes last: a night that could not be written whole is no history.
    """
    from scaling.figures import save_figure

    folder = results / OUTPUT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.md").write_text(markdown(judged), encoding="utf-8")
    (folder / "comment.md").write_text(f"{COMMENT_MARK}\n{markdown(judged)}", encoding="utf-8")
    (folder / "junit.xml").write_bytes(junit(judged))
    save_figure(draw_night(judged), judged.night.table.drop(columns="gain", errors="ignore"), folder, "gains")
    write_json(judged.to_dict(), folder / "night.json")
    return folder


def add_to_step_summary(text: str) -> None:
    """Append to GitHub's summary of the step, where there is one."""
    path = os.environ.get(SUMMARY_VARIABLE)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text + "\n")


def markdown(judged: JudgedNight) -> str:
    """The night as Markdown: the verdict, what failed it, what may explain it, the table."""
    lines = [f"## Night {judged.name}: {judged.headline}", ""]
    lines += [f"- {sentence}" for sentence in judged.regressions]
    if judged.changes:
        lines += ["", "What is not as in the baseline:", *(f"- {_plain(sentence)}" for sentence in judged.changes)]
    if judged.night.findings:
        lines += ["", "| technique | what | change of cost | interval | verdict |", "|---|---|---|---|---|"]
    lines += [_row(finding) for finding in judged.night.findings]
    lines += ["", *(f"{name}: {drift.sentence}" for name, drift in judged.drifts.items())]
    ending = "".join(f", {finding.level:.2%} intervals over seeds" for finding in judged.night.findings[:1])
    lines.append(f"\nBaseline `{judged.baseline_digest}`, {judged.night.n_pairs} pairs of trials{ending}.")
    return "\n".join(lines) + "\n"


def cannot_judge(reason: str) -> str:
    """A night without a verdict, as Markdown."""
    return f"## Night without a verdict\n\n{_plain(reason)}\n"


def junit(judged: JudgedNight) -> bytes:
    """The findings as JUnit XML: a case each, skipped where there is no number or nothing can be told."""
    cases = [(finding.technique, quantity_words(finding), *_ending(finding)) for finding in judged.night.findings]
    cases += [(name, "drift", _drift_ending(drift), drift.sentence) for name, drift in judged.drifts.items()]
    cases += [("trials", "divergence", "failure", words) for words in judged.night.worse_endings]
    suite = ElementTree.Element(
        "testsuite",
        name="ninthpower nightly",
        tests=str(len(cases)),
        failures=str(sum(ending == "failure" for *_, ending, _ in cases)),
        skipped=str(sum(ending == "skipped" for *_, ending, _ in cases)),
        errors="0",
    )
    for technique, name, ending, sentence in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"ninthpower.{technique}", name=name)
        if ending:
            ElementTree.SubElement(case, ending, message=sentence)
        else:
            ElementTree.SubElement(case, "system-out").text = sentence
    ElementTree.indent(suite)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def draw_night(judged: JudgedNight) -> Figure:
    """Draw every gain with its interval, a forest plot; below 1 is dearer."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from scaling.figures import PALETTE, style

    marks: dict[Verdict, tuple[str, str]] = {
        Verdict.SHIFTS: ("o", PALETTE[3]), Verdict.COSTS_MORE: ("s", PALETTE[2]),
        Verdict.EQUIVALENT: ("D", PALETTE[1]), Verdict.CANNOT_TELL: ("v", "#777777"),
    }  # fmt: skip
    shown = [finding for finding in judged.night.findings if finding.gain is not None]
    with rc_context(style()):
        figure = Figure(figsize=(7.5, 1.2 + 0.28 * len(shown)))
        axes = figure.subplots()
        axes.axvline(1.0, color="#555555", lw=1)
        for place, finding in enumerate(shown):
            mark, colour = marks[finding.verdict]
            gain: Any = finding.gain
            axes.plot([gain.low, gain.high], [place, place], color=colour, lw=1.4)
            axes.plot(gain.value, place, mark, color=colour, ms=5)
        axes.set_yticks(range(len(shown)), [f"{one.technique}: {quantity_words(one)}" for one in shown], fontsize=7)
        axes.set_ylim(max(1, len(shown)) - 0.5, -0.5)
        axes.set_xlabel("gain over the baseline with its interval (below 1: dearer)")
    return figure


def _drift_ending(drift: Drift) -> str:
    return "failure" if drift.is_loss else "skipped" if drift.verdict in _UNCLEAR else ""


def _ending(finding: Finding) -> tuple[str, str]:
    if finding.is_regression:
        return "failure", finding.sentence
    return "skipped" if finding.verdict in _UNCLEAR else "", finding.sentence


def _row(finding: Finding) -> str:
    what = f"{finding.technique} | {quantity_words(finding)}"
    if finding.gain is None:
        return f"| {what} | – | – | no number: {_plain(finding.reason)} |"
    change, low, high = (100 * (1 / value - 1) for value in (finding.gain.value, finding.gain.high, finding.gain.low))
    note = "" if finding.gates else " (does not fail the night)"
    return f"| {what} | {change:+.1f}% | {low:+.1f}% to {high:+.1f}% | {_WORDS[finding.verdict]}{note} |"


def _plain(text: str) -> str:
    """Text that Markdown leaves alone: names of machines and files may hold anything."""
    return "".join(f"\\{letter}" if letter in "|<>`*[]\\" else letter for letter in text.replace("\n", " "))
