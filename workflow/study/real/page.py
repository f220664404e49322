"""Writing ``docs/study_real.md`` from the tables of the study; no number is typed by hand."""

import json
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from lh2face.text import markdown_text
from workflow.study.real.figures import LESS_IS_BETTER, NEUTRAL, TITLES
from workflow.study.real.plan import Part, Plan
from workflow.study.real.results import DIFFERENCES, FIGURES, ORIGIN
from workflow.study.tables import arguments, cell_code, markdown

TEMPLATES = Path(__file__).parent
# Figures in the tables of the results at the top.
HEADLINE = ["fp.accuracy", "fp.tar.0.01", "fp.eer", "ff.accuracy"]
# Figures of which the differences are shown.
JUDGED = [name for name in TITLES if name not in NEUTRAL]


def write_page(plan: Plan, docs: Path) -> None:
    """Write ``study_real.md`` from the tables in ``docs/study``.

    Args:
        plan: The study.
        docs: Folder of the page; its subfolder ``study`` has the tables.
    """
    tables = docs / "study"
    results = Results(
        plan, pd.read_csv(tables / FIGURES), pd.read_csv(tables / DIFFERENCES),
        json.loads((tables / ORIGIN).read_text(encoding="utf-8")),
    )  # fmt: skip
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["text"] = markdown_text
    page = environment.get_template("study_real.md.j2").render(study=results, plan=plan)
    (docs / "study_real.md").write_text(page, encoding="utf-8")


class Results:
    """The results in the form in which the page shows them.

    Attributes:
        headlines: Figures in the tables of the results at the top.
        parts: Names of the parts that were run.
    """

    def __init__(
        self, plan: Plan, figures: pd.DataFrame, differences: pd.DataFrame, origin: dict[str, Any]
    ) -> None:
        self.plan, self.figures, self.origin = plan, figures, origin
        self._differences = differences
        self.headlines = HEADLINE
        self.parts = [name for name in plan.parts if name in origin["parts"]]

    def part(self, name: str) -> Part:
        """Return the plan of a part."""
        return self.plan.parts[name]

    def arguments(self, config: dict[str, Any], with_type: bool = False) -> str:
        """Write the arguments of a config, after its type if ``with_type``."""
        given = {key: value for key, value in config.items() if key != "type"}
        name = [f"`{config['type']}`"] if with_type else []
        return " ".join([*name, *([arguments(given)] if given else [])])

    def title(self, figure: str) -> str:
        """Return the title of a figure."""
        return TITLES[figure]

    def seeds(self, name: str) -> list[int]:
        """Return the seeds of a part that were run."""
        return sorted(set(self.figures.loc[self.figures["part"] == name, "seed"]))

    def views(self, name: str) -> list[str]:
        """Return the views of a part that were run."""
        seen = set(self.figures.loc[self.figures["part"] == name, "view"])
        return [view for view in self.part(name).views if view in seen]

    def unfinished(self, name: str) -> list[str]:
        """List the rows of a part that lack some of its seeds, with the seeds that they have."""
        rows = self.figures[self.figures["part"] == name]
        found = {row: sorted(set(of["seed"])) for row, of in rows.groupby(["head", "view"])}
        seeds = self.seeds(name)
        return [
            f"`{head}` {view} ({', '.join(map(str, has)) or 'none'})"
            for view in self.part(name).views
            for head in self.part(name).heads
            if (has := found.get((head, view), [])) != seeds
        ]

    def table(self, name: str, view: str) -> str:
        """Write a view of a part: mean ± standard deviation over the seeds, the best bold."""
        rows = self.figures[(self.figures["part"] == name) & (self.figures["view"] == view)]
        groups = rows.groupby(["head", "figure"], sort=False)["value"]
        mean, spread = groups.mean().unstack(), groups.std().unstack()
        body = []
        for head in [one for one in self.part(name).heads if one in mean.index]:
            cells = []
            for figure in TITLES:
                best = mean[figure].min() if figure in LESS_IS_BETTER else mean[figure].max()
                text = shown(figure, mean.loc[head, figure], spread.loc[head, figure])
                bold = figure not in NEUTRAL and mean.loc[head, figure] == best
                cells.append(f"**{text}**" if bold else text)
            body.append([f"`{head}`", *cells])
        return markdown(["", *TITLES.values()], body)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """All differences, and whether each is an improvement, or significant in a direction."""
        rows = self._differences.copy()
        sign = rows["figure"].map(lambda figure: -1 if figure in LESS_IS_BETTER else 1)
        ends = rows[["low", "high"]].mul(sign, axis=0)
        judged = ~rows["figure"].isin(NEUTRAL)
        rows["better"], rows["worse"] = (
            judged & (ends > 0).all(axis=1), judged & (ends < 0).all(axis=1)
        )  # fmt: skip
        rows["ahead"] = judged & (rows["difference"] * sign > 0)
        return rows

    def subjects(self, name: str) -> list[str]:
        """Return the names of the subject and its variants in a part."""
        return self.plan.subjects(self.part(name))

    def duels(self, name: str, view: str, subject: str) -> pd.DataFrame:
        """Select the differences between a subject and each other head, in a view of a part."""
        rows = self.differences
        others = [f"{head}-{view}" for head in self.part(name).heads]
        first = rows["first"] == f"{subject}-{view}"
        return rows[(rows["part"] == name) & first & rows["second"].isin(others)]

    def view_pairs(self, name: str) -> list[tuple[str, str]]:
        """List the views of a part that were run, each with each later one."""
        return list(combinations(self.views(name), 2))

    def gains(self, name: str, view: str, later: str) -> pd.DataFrame:
        """Select the differences between two views of each head, in a part."""
        rows = self.differences
        own = [
            (rows["first"] == f"{head}-{view}") & (rows["second"] == f"{head}-{later}")
            for head in self.part(name).heads
        ]
        return rows[(rows["part"] == name) & np.logical_or.reduce(own)]

    def starts(self, name: str) -> pd.DataFrame:
        """Select the differences between rows of a part and those of the part in ``against``."""
        rows = self.differences
        base = f"{self.part(name).against}:"
        return rows[(rows["part"] == name) & rows["second"].str.startswith(base)]

    def grid(self, rows: pd.DataFrame) -> str:
        """Write differences with their intervals; bold if an interval excludes zero."""
        body = []
        for (first, second), group in rows.groupby(["first", "second"], sort=False):
            found = group.set_index("figure", drop=False).loc[JUDGED]
            cells = [
                f"**{spelled(row)}**" if row.better or row.worse else spelled(row)
                for row in found.itertuples()
            ]
            body.append([f"`{first}` − `{second}`", *cells])
        return markdown(["", *(TITLES[figure] for figure in JUDGED)], body)

    def shown_subjects(self) -> list[str]:
        """Return the subject and those of its variants that were run."""
        run = set(self.figures["head"])
        return [head for head in (self.plan.subject, *self.plan.variants) if head in run]

    def headline(self, head: str) -> str:
        """Write a head and the best baseline of each figure, for each part and view."""
        body = []
        for name, view, seeds in self._rows_of(head):
            cells = [self._beside(head, name, view, figure) for figure in HEADLINE]
            body.append([f"`{name}`", f"`{view}`", str(seeds), *cells])
        return markdown(["part", "faces", "seeds", *(TITLES[key] for key in HEADLINE)], body)

    def beside_best(self, head: str) -> pd.DataFrame:
        """Return the differences that :meth:`headline` shows."""
        rows = [
            self._matching(self.differences, **self._best(head, name, view, figure))
            for name, view, _ in self._rows_of(head)
            for figure in HEADLINE
        ]
        return pd.concat(rows)

    def _rows_of(self, head: str) -> Iterator[tuple[str, str, int]]:
        """Yield each part and view in which a head was run, with its number of seeds."""
        for name in self.parts:
            for view in self.views(name):
                if seeds := self._seeds_of(head, name, view):
                    yield name, view, seeds

    def _seeds_of(self, head: str, name: str, view: str) -> int:
        """Count the seeds of a head in a view of a part."""
        rows = self._matching(self.figures, part=name, view=view, head=head)
        return int(rows["seed"].nunique())

    def changed(self) -> str:
        """Write what each part changes for the subject, compared with the part in ``against``.

        Empty if no part is compared.
        """
        body = []
        for name in self.parts:
            base = self.part(name).against
            for view in self.views(name):
                first = f"{self.plan.subject}-{view}"
                pair = {"first": first, "second": f"{base}:{first}"}
                if len(self._matching(self.differences, part=name, **pair)):
                    cells = [self._difference(name, figure=figure, **pair) for figure in HEADLINE]
                    body.append([f"`{name}` − `{base}`", f"`{view}`", *cells])
        header = ["part", "faces", *(TITLES[key] for key in HEADLINE)]
        return markdown(header, body) if body else ""

    def turning(self) -> str:
        """Write what each view changes beside each later one, for the subject and its variants."""
        body = []
        for name in self.parts:
            for head, views in product(self.subjects(name), self.view_pairs(name)):
                pair = [f"{head}-{view}" for view in views]
                if all(self._seeds_of(head, name, view) for view in views):
                    cells = [self._difference(name, *pair, figure) for figure in HEADLINE]
                    body.append([f"`{name}`", f"`{pair[0]}` − `{pair[1]}`", *cells])
        return markdown(["part", "", *(TITLES[key] for key in HEADLINE)], body)

    def _means(self, name: str, view: str, figure: str) -> pd.Series:
        """Compute the means of a figure by head."""
        rows = self._matching(self.figures, part=name, view=view, figure=figure)
        return rows.groupby("head")["value"].mean()

    def _best(self, head: str, name: str, view: str, figure: str) -> dict[str, str]:
        """Return the keys of the difference between a head and the best baseline."""
        means = self._means(name, view, figure)
        others = means.drop(self.plan.subjects(self.part(name)), errors="ignore")
        best = others.idxmin() if figure in LESS_IS_BETTER else others.idxmax()
        first, second = f"{head}-{view}", f"{best}-{view}"
        return {"part": name, "first": first, "second": second, "figure": figure}

    def _beside(self, head: str, name: str, view: str, figure: str) -> str:
        """Write a head's mean, that of the best baseline, and the difference."""
        means, keys = self._means(name, view, figure), self._best(head, name, view, figure)
        best = keys["second"].removesuffix(f"-{view}")
        own, other = (shown(figure, means[one], np.nan) for one in (head, best))
        return f"{own}, `{best}` {other}: {self._difference(**keys)}"

    def _difference(self, part: str, first: str, second: str, figure: str) -> str:
        """Write a difference with its interval, bold if that excludes zero."""
        keys = {"part": part, "first": first, "second": second, "figure": figure}
        for row in self._matching(self.differences, **keys).itertuples():
            return f"**{spelled(row)}**" if row.better or row.worse else spelled(row)
        return "too few seeds"

    @staticmethod
    def _matching(rows: pd.DataFrame, **keys: str) -> pd.DataFrame:
        """Select the rows that have these values."""
        return rows[np.logical_and.reduce([rows[key] == value for key, value in keys.items()])]

    def summary(self, rows: pd.DataFrame, figure: str) -> str:
        """Write in how many differences of a figure the first is better, and significantly so."""
        found = rows[rows["figure"] == figure]
        counts = (int(found[column].sum()) for column in ("ahead", "better", "worse"))
        ahead, better, worse = counts
        return (
            f"{ahead} of {len(found)} (significantly better in {better}, "
            f"significantly worse in {worse})"
        )

    def tuning(self) -> str:
        """Write the candidates, with the figure by which one is chosen."""
        body = []
        for head, configs in self.plan.candidates.items():
            for number, config in enumerate(configs):
                value = f"{100 * self.origin['tuning']['scores'][f'{head}-{number}']:.1f}"
                best = config == self.origin["chosen"][head]
                body.append([f"`{head}`", arguments(config), f"**{value}**" if best else value])
        return markdown(["head", "arguments", f"TAR at FAR {self.plan.tuning.far:g}"], body)

    def sources(self) -> str:
        """Write the commits, sizes and hours of the tuning and of each part."""
        body = []
        for name, made in {"tuning": self.origin["tuning"], **self.origin["parts"]}.items():
            commits = [
                cell_code(c[:10] + ("+" if c.endswith("+") else "")) for c in made["commits"]
            ]
            faces, people = (", ".join(map(str, made[key])) for key in ("faces", "people"))
            body.append([
                f"`{name}`", str(made["runs"]), faces, people, f"{made['hours']:.1f}",
                ", ".join(commits),
            ])  # fmt: skip
        return markdown(["", "trainings", "faces", "people", "hours", "commits"], body)


def shown(figure: str, mean: float, spread: float) -> str:
    """Write a mean ± standard deviation, in percent if the figure is a share."""
    scale = 1 if figure.startswith("kappa.") else 100
    digits = digits_of(figure)
    text = f"{scale * mean:.{digits}f}"
    return f"{text} ± {scale * spread:.{digits}f}" if np.isfinite(spread) else text


def digits_of(figure: str) -> int:
    """Return the number of digits after the point; TAR needs more, because it is small here."""
    return 2 if ".tar." in figure else 1


def spelled(row: Any) -> str:
    """Write a difference with its interval, in percent."""
    low, difference, high = (100 * value for value in (row.low, row.difference, row.high))
    digits = digits_of(row.figure)
    return f"{difference:+.{digits}f} ({low:+.{digits}f} … {high:+.{digits}f})"
