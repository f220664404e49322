"""``lh2face COMMAND``: the stages of the pipeline, and commands that people run by hand."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from traceback import print_exc
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lh2face.progress import QUIET
from lh2face.text import printable
from lh2face.threads import bound_threads

if TYPE_CHECKING:
    from lh2face.params import Params

VERBOSE = "LH2FACE_VERBOSE"
STAGES = "The pipeline, in the order in which data flows"
EVALUATION = "Evaluation"
TOOLS = "Faces and models by hand"
ADAPTERS = "Other toolboxes"

# Paragraphs: within one, the help joins lines.
EXAMPLES = """
[bold]Examples[/]

dvc repro   [dim]in a checkout: the whole pipeline with params.yaml[/]

lh2face params params/photos.yaml   [dim]other faces or sizes, then dvc repro[/]

lh2face compare runs/lh2face runs/cosface   [dim]is one better than the other?[/]

lh2face export-onnx runs/lh2face/0/model m.onnx   [dim]for insightface[/]

lh2face verify a.jpg b.jpg --model m.onnx   [dim]the same person?[/]

lh2face evaluate-ijb --root IJBC --protocol ijbc --model m.onnx --out ijbc

lh2face doctor   [dim]what is missing on this machine, and what to do[/]
"""

app = typer.Typer(
    help="LH2Face (arXiv 2506.23555): face recognition, from raw faces to an IJB-style table.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

In = Annotated[Path, typer.Argument(exists=True, show_default=False)]
Out = Annotated[Path, typer.Argument(show_default=False)]
Photo = Annotated[Path, typer.Argument(exists=True, dir_okay=False, show_default=False)]
Model = Annotated[
    Path, typer.Option(exists=True, help="Recognition ONNX file, or a trained model's folder.")
]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        exists=True, help="CSV of photo,x,y,… (eyes, nose, mouth corners; px) to align by."
    ),
]
Detector = Annotated[
    str | None, typer.Option(help="Face detector: mtcnn, or an ONNX file of insightface.")
]
Source = Annotated[str, typer.Argument(show_default=False, help="Name in sources, params.yaml.")]
Bench = Annotated[
    str, typer.Argument(show_default=False, help="Name in benchmarks or validation, params.yaml.")
]
Seed = Annotated[int, typer.Option(help="Seed of the run.")]


def show_version(wanted: bool) -> None:
    """Print the version and end, before anything else is read."""
    if wanted:
        from importlib.metadata import version

        print(f"lh2face {version('lh2face')}")
        raise typer.Exit


@app.callback()
def before(
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            envvar="LH2FACE_IMPORT",
            show_envvar=False,
            metavar="MODULE",
            help="Your own module, whose classes configs may name.",
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", envvar=QUIET, help="Print results and errors alone."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", envvar=VERBOSE, help="Print where an error comes from, too."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Set the options of all commands, before a command reads a file."""
    from importlib import import_module

    # In the environment, so that processes started by the command have them too.
    os.environ[QUIET], os.environ[VERBOSE] = ("1" if on else "" for on in (quiet, verbose))
    bound_threads()
    for module in modules or []:
        import_module(module)


def load() -> "Params":
    """Load the parameters from the working directory."""
    from lh2face.params import load_params

    return load_params()


@app.command(rich_help_panel=STAGES)
def params(
    overlays: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, show_default=False, help="Files such as params/full.yaml."),
    ] = None,
) -> None:
    """Apply overlays to params.yaml, or undo them.

    The values of an overlay replace those in params.yaml; later overlays win. Overlays of an
    earlier call are undone first. Without an overlay, the original params.yaml is restored.
    """
    from lh2face.params import overlay_params

    overlay_params(overlays or [])


@app.command(rich_help_panel=STAGES)
def data(name: Source, out: Out) -> None:
    """Make or convert the faces of a training source."""
    from lh2face.stages import data as stage

    stage.run(load(), name, out)


@app.command(rich_help_panel=STAGES)
def align(raw: In, out: Out) -> None:
    """Align a source's faces to 112 × 112 by landmarks."""
    from lh2face.stages import align as stage

    stage.run(load(), raw, out)


@app.command(rich_help_panel=STAGES)
def benchmark(name: Bench, out: Out) -> None:
    """Make the photographs of a benchmark, if necessary."""
    from lh2face.stages import benchmark as stage

    stage.run(load(), name, out)


@app.command(rich_help_panel=STAGES)
def align_benchmark(name: Bench, raw: In, out: Out) -> None:
    """Align a benchmark's faces to 112 × 112; check its lists."""
    from lh2face.stages import align_benchmark as stage

    stage.run(load(), name, raw, out)


@app.command(rich_help_panel=STAGES)
def fit3d(aligned: In, out: Out) -> None:
    """Train the reconstructor on the aligned faces."""
    from lh2face.stages import fit3d as stage

    stage.run(load(), aligned, out)


@app.command(rich_help_panel=STAGES)
def depth(reconstructor: In, benchmarks: In, out: Out) -> None:
    """Measure the reconstructor, and draw a few faces."""
    from lh2face.stages import depth as stage

    stage.run(load(), reconstructor, benchmarks, out)


@app.command(rich_help_panel=STAGES)
def untrained(out: Out, seed: Seed) -> None:
    """Write an untrained network, the baseline of the table."""
    from lh2face.stages import untrained as stage

    stage.run(load(), out, seed=seed)


@app.command(rich_help_panel=STAGES)
def weights(source: In, out: Out) -> None:
    """Check weights to begin a training from."""
    from lh2face.stages import weights as stage

    stage.run(load(), source, out)


@app.command(rich_help_panel=STAGES)
def train(
    aligned: In,
    out: Out,
    head: Annotated[str, typer.Option(help="Name of a head in params.yaml.")],
    seed: Seed,
    reconstructor: Annotated[
        Path | None, typer.Option(exists=True, help="Fitted reconstructor: train jointly with it.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Folder of the aligned validations of params.yaml.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Folder of stage weights, if train.init is set."),
    ] = None,
) -> None:
    """Train a recognizer with one head and one seed."""
    from lh2face.stages import train as stage

    stage.run(
        load(), aligned, out, head=head, seed=seed, reconstructor=reconstructor,
        validation=validation, init=init,
    )  # fmt: skip


@app.command(rich_help_panel=STAGES)
def other(model: Photo, out: Out) -> None:
    """Add a third-party ONNX model as a row of the table."""
    from lh2face.stages import other as stage

    stage.run(model, out)


@app.command(rich_help_panel=STAGES)
def embed(
    model: In,
    aligned: In,
    out: Out,
    shard: Annotated[int, typer.Option(help="Which shard of the benchmark, from 0.")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="Number of shards.")] = 1,
) -> None:
    """Embed a benchmark's faces with a model."""
    from lh2face.stages import embed as stage

    stage.run(load(), model, aligned, out, shard=shard, shards=shards)


@app.command(rich_help_panel=STAGES)
def evaluate(embeddings: In, benchmark: In, out: Out) -> None:
    """Run IJB 1:1 and 1:N, pairs, reject curves."""
    from lh2face.stages import evaluate as stage

    stage.run(load(), embeddings, benchmark, out)


@app.command(rich_help_panel=STAGES)
def report(benchmarks: In, runs: In, out: Out) -> None:
    """Write the offline page that compares the heads."""
    from lh2face.stages import report as stage

    stage.run(load(), benchmarks, runs, out)


@app.command(rich_help_panel=EVALUATION)
def compare(first: In, second: In) -> None:
    """Print how two runs differ, with intervals.

    A run is a folder such as runs/lh2face, one of its seeds, or an evaluation.
    Every benchmark that both were evaluated on has a table. The second may be a file of
    `lh2face reference`; the first is then the folder of all models, such as runs.
    """
    from lh2face.tools import compare as tool

    (tool.show_reference if second.is_file() else tool.show)(first, second)


@app.command(rich_help_panel=EVALUATION)
def reference(runs: In, out: Out) -> None:
    """Write the table of a run as a file to compare others with.

    RUNS is the folder of all models. `lh2face compare runs FILE` reads it.
    """
    from lh2face.artifacts.reference import write_reference

    write_reference(runs, out)


@app.command(rich_help_panel=EVALUATION)
def evaluate_ijb(
    root: Annotated[Path, typer.Option(exists=True, help="Folder with meta and loose_crop.")],
    protocol: Annotated[str, typer.Option(help="Prefix of the meta files: ijbb or ijbc.")],
    out: Annotated[Path, typer.Option(help="Folder for embeddings, figures and curves.")],
    model: Annotated[
        Path | None, typer.Option(exists=True, help="Recognition ONNX file of insightface.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(exists=True, help="Folder of a trained model.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(exists=True, help="(N, d) or (N, 2, d) float .npy.")
    ] = None,
    quality: Annotated[
        Path | None, typer.Option(exists=True, help="CSV of name,score: quality; default κ.")
    ] = None,
    flip: Annotated[bool, typer.Option(help="Average with the mirror image's embedding.")] = True,
    norm: Annotated[bool, typer.Option(help="Keep the embeddings' norms (N1).")] = True,
    detector_score: Annotated[
        bool, typer.Option(help="Multiply by the detector score (D1).")
    ] = True,
    pooling: Annotated[
        Literal["mean", "kappa"], typer.Option(help="Mean of a medium's faces.")
    ] = "mean",
    matching: Annotated[
        Literal["cosine", "mutual_likelihood"], typer.Option(help="Score of two templates.")
    ] = "cosine",
    vmf_dim: Annotated[int, typer.Option(min=2, help="Dimension n of the vMF.")] = 256,
    galleries: Annotated[
        Literal["each", "merged"], typer.Option(help="Merged: as insightface's ijb_1n prints.")
    ] = "each",
    formulas: Annotated[
        Literal["definition", "insightface"],
        typer.Option(help="1:N by definition, or as insightface's ijb_evals prints."),
    ] = "definition",
    bootstrap: Annotated[int, typer.Option(min=0, help="Rounds for intervals.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and align.")] = 2,
    check_landmarks: Annotated[
        bool, typer.Option(help="Refuse landmarks that cannot belong to a face.")
    ] = True,
    detector: Detector = None,
) -> None:
    """Run IJB-B or IJB-C with a model, or with features."""
    from lh2face.evaluation.protocol import Protocol
    from lh2face.tools import evaluate_ijb as tool

    switches = Protocol(
        flip=flip, norm=norm, detector_score=detector_score, pooling=pooling, matching=matching,
        vmf_dim=vmf_dim, galleries=galleries, formulas=formulas, bootstrap=bootstrap, seed=seed,
    )  # fmt: skip
    tool.run(
        root, protocol, out, switches, model=model, checkpoint=checkpoint, features=features,
        quality=quality, workers=workers, check_landmarks=check_landmarks, detector=detector,
    )  # fmt: skip


@app.command(rich_help_panel=EVALUATION)
def evaluate_bins(
    bins: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, show_default=False)],
    model: Model,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Run verification bins such as lfw.bin with a model."""
    from lh2face.tools import evaluate_bins as tool

    tool.run(bins, model, out)


@app.command(rich_help_panel=TOOLS)
def reconstruct(
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for a sheet and an animation per face.")],
    model: Annotated[
        Path, typer.Option(exists=True, help="Fitted reconstructor, or jointly trained model.")
    ] = Path("runs/fit3d"),
    landmarks: Landmarks = None,
    detector: Detector = None,
) -> None:
    """Draw faces in 3D: depth, normals, relit, turned.

    A photo is an aligned face; others need landmarks or a detector.
    """
    from lh2face.tools import reconstruct as tool

    tool.run(images, model, out, landmarks=landmarks, detector=detector)


@app.command(rich_help_panel=TOOLS)
def verify(
    first: Photo,
    second: Photo,
    model: Model,
    threshold: Annotated[
        float | None, typer.Option(help="Score instead of the model's own threshold.")
    ] = None,
    far: Annotated[
        float | None, typer.Option(help="FAR of the model's thresholds to use; the lowest without.")
    ] = None,
    landmarks: Landmarks = None,
    detector: Detector = None,
) -> None:
    """Decide whether two photos show the same person.

    Prints the score, the threshold, its FAR and what that was measured on, and both κ.
    A photo is an aligned face of 112 × 112 px; others need landmarks or a detector.
    If the lowest FAR of the model is above 0.01, there is no verdict without --far or
    --threshold. The exit status is 3 without a verdict, and 0 with one, whatever it is.
    """
    from lh2face.tools import verify as tool
    from lh2face.tools.verdict import NO_VERDICT

    decided = tool.run(
        (first, second), model, threshold=threshold, far=far, landmarks=landmarks,
        detector=detector,
    )  # fmt: skip
    if not decided:
        raise typer.Exit(NO_VERDICT)


@app.command(rich_help_panel=TOOLS)
def enrol(
    folder: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="FOLDER/NAME/PHOTO.", show_default=False),
    ],
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder to write: the gallery.")],
    landmarks: Landmarks = None,
    detector: Detector = None,
) -> None:
    """Make a gallery of people from a folder of their photos.

    A photo is an aligned face of 112 × 112 px; others need landmarks or a detector.
    Photos that cannot be used are listed in the gallery's failures.csv.
    """
    from lh2face.tools import enrol as tool

    tool.run(folder, model, out, landmarks=landmarks, detector=detector)


@app.command(rich_help_panel=TOOLS)
def identify(
    photos: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, show_default=False)],
    gallery: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder that enrol wrote.")
    ],
    model: Model,
    fpir: Annotated[
        float | None,
        typer.Option(help="FPIR of the threshold, measured at enrolment; 0.01 without."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score instead of a measured threshold.")
    ] = None,
    landmarks: Landmarks = None,
    detector: Detector = None,
) -> None:
    """Find the person in a photo among the people of a gallery.

    Prints the five best candidates, κ, the threshold with its FPIR, and the name above it.
    The exit status is 3 if too few people are enrolled for a decision at FPIR 0.01 and neither
    --fpir nor --threshold is given; otherwise it is 0, whatever the decision is.
    """
    from lh2face.tools import identify as tool
    from lh2face.tools.verdict import NO_VERDICT

    decided = tool.run(
        photos, gallery, model, fpir=fpir, threshold=threshold, landmarks=landmarks,
        detector=detector,
    )  # fmt: skip
    if not decided:
        raise typer.Exit(NO_VERDICT)


@app.command(rich_help_panel=TOOLS)
def demo(
    model: Model,
    reconstructor: Annotated[
        Path | None,
        typer.Option(exists=True, help="Fitted reconstructor, or jointly trained model."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="mtcnn, or an ONNX file of insightface; mtcnn without.")
    ] = None,
    far: Annotated[
        float | None, typer.Option(help="FAR of the model's thresholds to use; the lowest without.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Compare photos on a page of this machine.

    Two photos in: faces found and aligned, score, verdict and both κ; with a reconstructor the
    canonical faces, turned by a slider. Nothing leaves this machine, and nothing is kept.
    """
    from lh2face.demo import server

    server.run(
        model, reconstructor=reconstructor, detector=detector, far=far, port=port, browser=browser
    )


@app.command(rich_help_panel=TOOLS)
def doctor() -> None:
    """Check this machine, and say what to do.

    Packages, devices, memory, disk, programs, data folders.
    The exit status is 1 only if something required is missing.
    """
    from lh2face.tools import doctor as tool

    if not tool.run():
        raise typer.Exit(1)


@app.command(rich_help_panel=TOOLS)
def info(path: In) -> None:
    """Print the provenance of a model, a metric or a report."""
    import json

    from rich import print_json

    from lh2face.artifacts.info import read_provenance

    print_json(json.dumps(read_provenance(path)))


@app.command(rich_help_panel=ADAPTERS)
def records(
    source: Annotated[
        Literal["image_folder", "magface_list", "parquet", "webdataset"],
        typer.Argument(help="Format of the faces.", show_default=False),
    ],
    path: In,
    out: Out,
) -> None:
    """Write faces of other formats as train.rec, idx, property."""
    from lh2face.tools import records as tool

    tool.run(source, path, out)


@app.command(rich_help_panel=ADAPTERS)
def export_onnx(
    checkpoint: In,
    out: Out,
    evaluation: Annotated[
        Path | None, typer.Option(exists=True, help="Evaluation to take figures, thresholds from.")
    ] = None,
) -> None:
    """Write a model as ONNX for insightface, with a model card."""
    from lh2face.adapters import insightface

    insightface.export_onnx(checkpoint, out, evaluation)


@app.command(rich_help_panel=ADAPTERS)
def arcface_torch(
    script: In,
    config: Annotated[str, typer.Argument(help="configs/NAME, with a config.head.")],
    config_dir: Annotated[
        Path | None, typer.Option(exists=True, help="Folder of configs of your own.")
    ] = None,
) -> None:
    """Run insightface's own train_v2.py with a head of lh2face."""
    from lh2face.adapters import arcface_torch

    arcface_torch.run(script, config, config_dir)


def main() -> None:
    """Run the command line."""
    end_in_words(app)


def end_in_words(app: typer.Typer) -> None:
    """Run a command line; a user's mistake gives one line, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal or file cannot show are escaped.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (ValueError, OSError) as error:
        fail(in_words(error))
    except ModuleNotFoundError as error:
        fail(f"{error}; `lh2face doctor` says how to install it")


def in_words(error: Exception) -> str:
    """Return the message of an error; the name of a file comes first if the system refused it."""
    if isinstance(error, OSError) and isinstance(error.filename, str | os.PathLike):
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return str(error)


def fail(message: str) -> None:
    """Print what went wrong, its lines without control characters, and end with 1."""
    lines = map(printable, message.splitlines())
    if os.environ.get(VERBOSE):
        print_exc()
    print("lh2face:", "\n".join(lines), file=sys.stderr)
    sys.exit(1)
