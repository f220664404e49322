"""Command line of the studies: ``python -m workflow.study``, in the root of a checkout."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from lh2face.cli import run_without_traceback

HERE = Path(__file__).parent

app = typer.Typer(
    help="Run the studies of the heads.", no_args_is_help=True, pretty_exceptions_enable=False,
    add_completion=False,
)  # fmt: skip
run = typer.Typer(no_args_is_help=True, help="Run the parts of a study that are not done.")
page = typer.Typer(no_args_is_help=True, help="Write a study's page and tables.")
app.add_typer(run, name="run")
app.add_typer(page, name="page")

Parts = Annotated[list[str] | None, typer.Argument(help="Names of parts; if none is given, all.")]
PlanFile = Annotated[Path, typer.Option("--plan", help="Plan of the study.")]
Over = Annotated[
    Path | None, typer.Option(exists=True, help="Overlay for all parts, such as params/full.yaml.")
]
PlanOver = Annotated[
    Path | None,
    typer.Option("--over", exists=True, help="Overlay of the plan, such as real/iresnet18.yaml."),
]
Clones = Annotated[Path, typer.Option(help="Folder with a clone of the repository per part.")]
Docs = Annotated[Path, typer.Option(help="Folder of the page; the tables go to study/ in it.")]
Photos = Annotated[Path, typer.Option(help="Folder of the photos, see docs/study_real.md.")]
Results = Annotated[Path, typer.Option(help="Folder of the results, one file per training.")]
SYNTHETIC, REAL = HERE / "synthetic" / "plan.yaml", HERE / "real" / "plan.yaml"


@run.command("synthetic")
def run_synthetic(
    parts: Parts = None,
    plan: PlanFile = SYNTHETIC,
    over: Over = None,
    clones: Clones = Path("study"),
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of models trained at once, each on a core.")
    ] = 2,
) -> None:
    """Run parts of the study on synthetic people, with the code of the last commit."""
    from workflow.study.synthetic.plan import load_plan
    from workflow.study.synthetic.run import run

    run(load_plan(plan, over), clones, jobs=jobs, only=parts or [])


@page.command("synthetic")
def page_synthetic(
    plan: PlanFile = SYNTHETIC,
    over: Over = None,
    clones: Clones = Path("study"),
    docs: Docs = Path("docs"),
) -> None:
    """Write study.md and its tables from the parts that were run."""
    from workflow.study.synthetic.page import write_page
    from workflow.study.synthetic.plan import load_plan
    from workflow.study.synthetic.results import collect

    loaded = load_plan(plan, over)
    collect(loaded, clones, docs / "study")
    write_page(loaded, docs)


@run.command("real")
def run_real(
    photos: Photos,
    parts: Parts = None,
    plan: PlanFile = REAL,
    over: PlanOver = None,
    results: Results = Path("study/real"),
) -> None:
    """Run parts of the study on real faces; several processes of this command share the work."""
    from workflow.study.real import faces, run
    from workflow.study.real.plan import load_plan

    loaded = load_plan(plan, over)
    run.run(loaded, faces.read_photos(photos, loaded.size, results / "faces"), results, parts or [])


@page.command("real")
def page_real(
    photos: Photos,
    plan: PlanFile = REAL,
    over: PlanOver = None,
    results: Results = Path("study/real"),
    docs: Docs = Path("docs"),
) -> None:
    """Write study_real.md and its tables from the parts that are complete."""
    from workflow.study.real import faces
    from workflow.study.real.page import write_page
    from workflow.study.real.plan import load_plan
    from workflow.study.real.results import collect

    loaded = load_plan(plan, over)
    read = faces.read_photos(photos, loaded.size, results / "faces")
    collect(loaded, read, results, docs / "study")
    write_page(loaded, docs)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("mmengine").setLevel(logging.WARNING)
    run_without_traceback(app)
