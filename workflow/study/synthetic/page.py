"""Writing ``docs/study.md`` from the tables of the study; no number is typed by hand."""

import json
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from lh2face.evaluation.metric_names import LESS_IS_BETTER, title
from lh2face.text import markdown_text
from workflow.study.synthetic.plan import SUBJECT, Part, Plan
from workflow.study.synthetic.results import DIFFERENCES, FIGURES, KAPPA, ORIGIN
from workflow.study.tables import arguments, cell_code, changes, markdown

TEMPLATES = Path(__file__).parent
# Columns of the differences: whether one is significant, in either direction.
DIRECTIONS = ["better", "worse"]
# Sizes in the plot of differences, in points: of all of it, and of the names, a row and the axis.
WIDTH, NAMES, ROW, AXIS = 720, 290, 24, 34
# Its colours, which can be seen on light and on dark pages.
GREY, BETTER, WORSE = "#808080", "#009e73", "#d55e00"
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "lh2face", "font.family": "sans-serif",
    "font.size": 12,
    "xtick.color": GREY, "ytick.color": GREY, "xtick.major.size": 0, "ytick.major.size": 0,
    "axes.grid": True, "axes.grid.axis": "x", "grid.color": "#80808040",
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False,
    "axes.spines.bottom": False,
}  # fmt: skip


def write_page(plan: Plan, docs: Path) -> None:
    """Write ``study.md`` and its plots from the tables in ``docs/study``.

    Args:
        plan: The study.
        docs: Folder of the page; its subfolder ``study`` has the tables.
    """
    tables = docs / "study"
    figures = pd.read_csv(tables / FIGURES)
    differences = pd.read_csv(tables / DIFFERENCES)
    origin = json.loads((tables / ORIGIN).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["text"] = markdown_text
    results = Results(plan, figures, differences, origin)
    page = environment.get_template("study.md.j2").render(study=results, plan=plan)
    for name in dict.fromkeys(differences["part"]):
        (tables / f"{name}.svg").write_text(results.plot(name), encoding="utf-8")
    (docs / "study.md").write_text(page, encoding="utf-8")


class Results:
    """The results in the form in which the page shows them.

    Attributes:
        parts: The parts that were run.
    """

    def __init__(
        self, plan: Plan, figures: pd.DataFrame, differences: pd.DataFrame, origin: dict[str, Any]
    ) -> None:
        self.plan, self.origin = plan, origin
        self.figures, self.differences = figures, differences
        self.parts = [name for name in plan.parts if name in origin["parts"]]

    @property
    def select_title(self) -> str:
        """Title of the figure by which candidates are chosen."""
        return figure(self.plan.select)

    def sources(self) -> str:
        """Write the commits, devices and versions of all parts as a Markdown table."""
        rows = []
        for name, made in self.origin["parts"].items():
            # "+" means that files had been changed since the commit.
            commits = [
                cell_code(c[:10] + ("+" if c.endswith("+") else "")) for c in made["commits"]
            ]
            others = ([*map(markdown_text, made[key])] for key in ("devices", "versions"))
            rows.append([name, *map(", ".join, [commits, *others])])
        return markdown(["part", "commits", "device", "versions"], rows)

    def part(self, name: str) -> Part:
        """Return the plan of a part."""
        return self.plan.parts[name]

    def contender(self, name: str) -> str | None:
        """Return the head that a part compares with each of its other heads, or ``None``."""
        return self.plan.contender(self.part(name))

    def means(self, name: str) -> pd.DataFrame:
        """Compute the mean of each figure (columns) of a part's models (rows)."""
        return self._pivot(name, "mean")

    def table(self, name: str) -> str:
        """Write a part as a Markdown table: mean ± standard deviation in percent, the best bold."""
        mean, spread = self._pivot(name, "mean"), self._pivot(name, "std")
        rows = []
        for model in mean.index:
            cells = [
                self._cell(mean.loc[model, path], spread.loc[model, path], mean[path], path)
                for path in mean.columns
            ]
            rows.append([f"`{model}`", *cells])
        return markdown(["", *map(figure, mean.columns)], rows)

    def tuning(self, name: str) -> str:
        """Write a table of a part's candidates, with the figure by which one is chosen."""
        found = self.means(name)[self.plan.select]
        rows = []
        for candidate, config in self.plan.all_candidates().items():
            head = candidate.rpartition("-")[0]
            if candidate not in found:
                continue
            best = config == self.origin["chosen"][name][head]
            value = f"{100 * found[candidate]:.1f}"
            rows.append([head, arguments(config), f"**{value}**" if best else value])
        return markdown(["head", "arguments", figure(self.plan.select)], rows)

    def baselines(self, name: str) -> pd.DataFrame:
        """Return the means of a part's heads other than LH2Face."""
        mean = self.means(name)
        return mean.loc[[m for m in mean.index if m in {*self.plan.candidates} - {SUBJECT}]]

    def against(self, name: str) -> pd.DataFrame:
        """Return the differences that the page shows, in percent, one row per figure and pair.

        If a part has a contender, each figure has one pair: the contender and the best baseline.
        """
        rows = self.pairs(name)
        if self.contender(name):
            best = {path: best_of(column) for path, column in self.baselines(name).items()}
            rows = rows[rows["reference"] == rows["figure"].map(best)]
        return rows

    def pairs(self, name: str) -> pd.DataFrame:
        """Return all differences of a part, in percent, and whether each is significant."""
        rows = self.differences[self.differences["part"] == name].copy()
        sign = rows["figure"].map(lambda path: -1 if path in LESS_IS_BETTER else 1)
        ends = rows[["low", "high"]].mul(sign, axis=0)
        rows["better"] = (ends > 0).all(axis=1)
        rows["worse"] = (ends < 0).all(axis=1)
        rows[["difference", "low", "high"]] *= 100
        return rows

    def duels(self, name: str) -> str:
        """Write a table of the figures in which the contender differs significantly, by head."""
        rows = []
        for reference, group in self.pairs(name).groupby("reference", sort=False):
            won, lost = (", ".join(map(figure, group.loc[group[c], "figure"])) for c in DIRECTIONS)
            rows.append([f"`{reference}`", won, lost])
        return markdown(["against", *DIRECTIONS], rows)

    def lead(self, name: str) -> int:
        """Count the figures in which the contender's mean is better than that of all baselines."""
        own, others = self.means(name).loc[[self.contender(name)]], self.baselines(name)
        return sum(best_of(pd.concat([own[p], others[p]])) == own.index[0] for p in own)

    def verdicts(self, name: str) -> str:
        """Write the differences as a Markdown table; bold if the interval excludes zero."""
        rows = []
        for row in self.against(name).itertuples():
            text = spelled(row)
            direction = "better" if row.better else "worse" if row.worse else ""
            rows.append([
                figure(row.figure), f"`{row.model}` − `{row.reference}`",
                f"**{text}**" if direction else text, direction,
            ])  # fmt: skip
        return markdown(["", "", "difference (95 % interval)", ""], rows)

    def grid(self, name: str) -> str:
        """Write the differences of variants, with one row per variant and one column per figure."""
        found = self.against(name)
        paths = list(dict.fromkeys(found["figure"]))
        rows = []
        for model, group in found.groupby("model", sort=False):
            cells = []
            for row in group.set_index("figure").loc[paths].itertuples():
                text = f"{row.difference:+.1f}"
                cells.append(f"**{text}**" if row.better or row.worse else text)
            change = changes(self.plan.variants.get(model, {}))
            rows.append([f"`{model}`", change, self._kappa(name, model), *cells])
        return markdown(["", "change", "mean κ", *map(figure, paths)], rows)

    def count(self, name: str, column: str) -> list[str]:
        """Return the titles of the figures that are ``better`` or ``worse`` in a part."""
        found = self.against(name)
        return [figure(path) for path in found.loc[found[column], "figure"]]

    def nearest(self, name: str, path: str) -> str:
        """Return the baseline of a part that has the best mean of a figure."""
        return best_of(self.baselines(name)[path])

    def title(self, path: str) -> str:
        """Return the title of a figure as Markdown."""
        return figure(path)

    def beaten(self, name: str, path: str) -> str:
        """Name the heads than which the contender is significantly better in a figure."""
        rows = self.pairs(name)
        return named(rows.loc[rows["better"] & (rows["figure"] == path), "reference"])

    def difference(self, name: str, model: str, reference: str, path: str) -> str:
        """Write the difference of two models in a figure, with its interval, in percent."""
        rows = self.pairs(name).set_index(["model", "reference", "figure"])
        return spelled(rows.loc[(model, reference, path)])

    def significant(self, name: str, column: str) -> str:
        """Name the variants that are ``better`` or ``worse`` than LH2Face in some figure."""
        rows = self.pairs(name)
        return named(rows.loc[rows[column], "model"].unique())

    def value(self, name: str, model: str, path: str) -> str:
        """Write the mean ± standard deviation of a model's figure, in percent."""
        mean, spread = (self._pivot(name, how).loc[model, path] for how in ("mean", "std"))
        return f"{100 * mean:.1f} ± {100 * spread:.1f}"

    def plot(self, name: str) -> str:
        """Draw the differences of a part and their intervals as an SVG."""
        rows = list(self.against(name).itertuples())
        if self.part(name).models == "variants":
            rows = [row for row in rows if row.figure == self.plan.select]
        height = ROW * len(rows) + AXIS
        place = NAMES / WIDTH, AXIS / height, 1 - (NAMES + 20) / WIDTH, 1 - AXIS / height
        svg = StringIO()
        with rc_context(STYLE):
            drawn = Figure(figsize=(WIDTH / 72, height / 72))
            axes = drawn.add_axes(place)
            axes.axvline(0, color=GREY)
            for number, row in enumerate(rows):
                color = BETTER if row.better else WORSE if row.worse else GREY
                axes.plot([row.low, row.high], [number, number], color=color, linewidth=2)
                axes.plot(row.difference, number, "o", color=color)
            axes.set_yticks(range(len(rows)), [self._words(name, row) for row in rows])
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
            drawn.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        return svg.getvalue()

    def _words(self, name: str, row: Any) -> str:
        """Return the name of a row of :meth:`plot`."""
        words = row.model if self.part(name).models == "variants" else title(row.figure)
        return f"{words} · {row.reference}" if self.contender(name) else words

    def _pivot(self, name: str, how: str) -> pd.DataFrame:
        rows = self.figures[self.figures["part"] == name]
        table = rows.pivot_table("value", "model", "figure", how, dropna=False, sort=False)
        return table[[path for path in self.part(name).figures if path in table]]

    def _kappa(self, name: str, model: str) -> str:
        rows = self.figures[["part", "model", "figure"]] == [name, model, KAPPA]
        return f"{self.figures.loc[rows.all(axis=1), 'value'].mean():.1f}"

    def _cell(self, mean: float, spread: float, column: pd.Series, path: str) -> str:
        best = column.min() if path in LESS_IS_BETTER else column.max()
        digits = 2 if path in LESS_IS_BETTER else 1
        text = f"{100 * mean:.{digits}f}"
        if np.isfinite(spread):
            text += f" ± {100 * spread:.{digits}f}"
        return f"**{text}**" if mean == best and len(column) > 1 else text


def figure(path: str) -> str:
    """Return the title of a figure as Markdown."""
    return markdown_text(title(path))


def named(models: Iterable[str]) -> str:
    """List models as Markdown; "none" if there are none."""
    return ", ".join(f"`{model}`" for model in models) or "none"


def spelled(row: Any) -> str:
    """Write a difference with its interval."""
    return f"{row.difference:+.1f} ({row.low:+.1f} … {row.high:+.1f})"


def best_of(column: pd.Series) -> str:
    """Return the model with the best mean of a figure."""
    return str(column.idxmin() if column.name in LESS_IS_BETTER else column.idxmax())
