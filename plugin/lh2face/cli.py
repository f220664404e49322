"""``lh2face COMMAND``: the stages of the pipeline, and commands that people run by hand."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from traceback import print_exc
from typing import TYPE_CHECKING, Annotated, Any, Literal

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

# Each line is a paragraph of its own, because the help joins the lines of a paragraph.
EXAMPLES = """
[bold]Examples[/]

dvc repro   [dim]in a checkout: the whole pipeline with params.yaml[/]

lh2face params params/photos.yaml   [dim]change the parameters, then run dvc repro[/]

lh2face compare runs/lh2face runs/cosface   [dim]is one better than the other?[/]

lh2face export-onnx runs/lh2face/0/model m.onnx   [dim]for insightface[/]

lh2face verify a.jpg b.jpg --model m.onnx   [dim]the same person?[/]

lh2face evaluate-ijb --root IJBC --protocol ijbc --model m.onnx --out ijbc

lh2face doctor   [dim]what is missing on this machine, and what to do[/]
"""

# The help keeps the line breaks of a command's docstring, so its lines fit into 80 columns.
app = typer.Typer(
    help="LH2Face (arXiv 2506.23555): face recognition, from raw faces to an IJB-style table.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def existing(content: str) -> Any:
    """Declare an argument for a file or folder that must exist, by its content."""
    return typer.Argument(exists=True, show_default=False, help=content)


AlignedFaces = Annotated[Path, existing("Folder of stage align, or a folder of several of them.")]
AlignedBenchmark = Annotated[Path, existing("Folder of stage align_benchmark.")]
AlignedBenchmarks = Annotated[Path, existing("Folder with the folders of stage align_benchmark.")]
Runs = Annotated[Path, existing("Folder with the folders of all models, such as runs.")]
Out = Annotated[Path, typer.Argument(show_default=False, help="Folder to write.")]
OutFile = Annotated[Path, typer.Argument(show_default=False, help="File to write.")]
Photo = Annotated[Path, typer.Argument(exists=True, dir_okay=False, show_default=False)]
Model = Annotated[
    Path, typer.Option(exists=True, help="Recognition ONNX file, or a trained model's folder.")
]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        help="CSV file of landmarks to align by. A line has the path of a photo, then x and y of "
        "both eyes, nose and both mouth corners in px.",
    ),
]
Detector = Annotated[
    str | None, typer.Option(help="Face detector: mtcnn, or an ONNX file of insightface.")
]
Source = Annotated[str, typer.Argument(show_default=False, help="Name of a source in params.yaml.")]
Bench = Annotated[
    str,
    typer.Argument(show_default=False, help="Name of a benchmark or validation in params.yaml."),
]
Far = Annotated[
    float | None,
    typer.Option(
        help="Use the model's threshold for this FAR; by default, for its lowest FAR.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the run.")]


def show_version(wanted: bool) -> None:
    """Print the version and exit, before other options are read."""
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
            help="Import this module of yours, so that configs may name its classes.",
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", envvar=QUIET, help="Print only results and errors."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", envvar=VERBOSE, help="Print tracebacks of errors, too."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Apply the options that all commands share, before the command runs."""
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
        typer.Argument(
            exists=True, show_default=False, help="Overlay files such as params/full.yaml."
        ),
    ] = None,
) -> None:
    """Apply overlays to params.yaml, or undo them.

    The values of an overlay replace those in params.yaml; the values
    of a later overlay replace those of an earlier one. Overlays of the
    last call are undone first. Without an overlay, the original
    params.yaml is restored.
    """
    from lh2face.params import overlay_params

    overlay_params(overlays or [])


@app.command(rich_help_panel=STAGES)
def data(name: Source, out: Out) -> None:
    """Make or convert the faces of a training source."""
    from lh2face.stages import data as stage

    stage.run(load(), name, out)


@app.command(rich_help_panel=STAGES)
def align(raw: Annotated[Path, existing("Folder of stage data.")], out: Out) -> None:
    """Align a source's faces to 112 × 112 by landmarks."""
    from lh2face.stages import align as stage

    stage.run(load(), raw, out)


@app.command(rich_help_panel=STAGES)
def benchmark(name: Bench, out: Out) -> None:
    """Prepare a benchmark, for example render its photographs."""
    from lh2face.stages import benchmark as stage

    stage.run(load(), name, out)


@app.command(rich_help_panel=STAGES)
def align_benchmark(
    name: Bench, raw: Annotated[Path, existing("Folder of stage benchmark.")], out: Out
) -> None:
    """Align a benchmark's faces to 112 × 112; check its lists."""
    from lh2face.stages import align_benchmark as stage

    stage.run(load(), name, raw, out)


@app.command(rich_help_panel=STAGES)
def fit3d(aligned: AlignedFaces, out: Out) -> None:
    """Train the reconstructor on the aligned faces."""
    from lh2face.stages import fit3d as stage

    stage.run(load(), aligned, out)


@app.command(rich_help_panel=STAGES)
def depth(
    reconstructor: Annotated[Path, existing("Folder of stage fit3d.")],
    benchmarks: AlignedBenchmarks,
    out: Out,
) -> None:
    """Measure the reconstructor's depth errors; draw a few faces."""
    from lh2face.stages import depth as stage

    stage.run(load(), reconstructor, benchmarks, out)


@app.command(rich_help_panel=STAGES)
def untrained(out: Out, seed: Seed) -> None:
    """Write an untrained network, a baseline in the table."""
    from lh2face.stages import untrained as stage

    stage.run(load(), out, seed=seed)


@app.command(rich_help_panel=STAGES)
def weights(
    source: Annotated[Path, existing("File or folder with the weights of a backbone.")], out: Out
) -> None:
    """Check and convert pretrained weights to train from."""
    from lh2face.stages import weights as stage

    stage.run(load(), source, out)


@app.command(rich_help_panel=STAGES)
def train(
    aligned: AlignedFaces,
    out: Out,
    head: Annotated[str, typer.Option(help="Name of a head in params.yaml.")],
    seed: Seed,
    reconstructor: Annotated[
        Path | None,
        typer.Option(exists=True, help="Folder of stage fit3d, to train both models jointly."),
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Folder with the aligned faces of each validation.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Folder of stage weights; used only if train.init is set."),
    ] = None,
) -> None:
    """Train a recognizer with one head and one seed."""
    from lh2face.stages import train as stage

    stage.run(
        load(), aligned, out, head=head, seed=seed, reconstructor=reconstructor,
        validation=validation, init=init,
    )  # fmt: skip


@app.command(rich_help_panel=STAGES)
def other(
    model: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, show_default=False, help="Recognition ONNX file."
        ),
    ],
    out: Out,
) -> None:
    """Add a third-party ONNX model as a row of the table."""
    from lh2face.stages import other as stage

    stage.run(model, out)


@app.command(rich_help_panel=STAGES)
def embed(
    model: Annotated[Path, existing("Folder of a trained model, or a recognition ONNX file.")],
    aligned: AlignedBenchmark,
    out: Out,
    shard: Annotated[int, typer.Option(help="Number of the shard to embed, from 0.")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="Number of shards.")] = 1,
) -> None:
    """Embed a benchmark's faces with a model."""
    from lh2face.stages import embed as stage

    stage.run(load(), model, aligned, out, shard=shard, shards=shards)


@app.command(rich_help_panel=STAGES)
def evaluate(
    embeddings: Annotated[Path, existing("Folder of stage embed.")],
    benchmark: AlignedBenchmark,
    out: Out,
) -> None:
    """Compute all figures and curves of a model on a benchmark."""
    from lh2face.stages import evaluate as stage

    stage.run(load(), embeddings, benchmark, out)


@app.command(rich_help_panel=STAGES)
def report(benchmarks: AlignedBenchmarks, runs: Runs, out: Out) -> None:
    """Write a page that compares the models and opens offline."""
    from lh2face.stages import report as stage

    stage.run(load(), benchmarks, runs, out)


@app.command(rich_help_panel=EVALUATION)
def compare(
    first: Annotated[Path, existing("A run.")],
    second: Annotated[Path, existing("Another run, or a reference file.")],
) -> None:
    """Print the differences of two runs, with intervals.

    A run is a folder such as runs/lh2face, one of its seeds, or an
    evaluation. There is one table for each benchmark that both were
    evaluated on.

    If SECOND is a file that `lh2face reference` wrote, FIRST must be the
    folder of all models, such as runs.
    """
    from lh2face.tools import compare as tool

    (tool.show_reference if second.is_file() else tool.show)(first, second)


@app.command(rich_help_panel=EVALUATION)
def reference(runs: Runs, out: OutFile) -> None:
    """Write the figures of all models to a reference file.

    `lh2face compare runs FILE` compares other runs with this file.
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
        Path | None,
        typer.Option(exists=True, help="Embeddings in a .npy file: (N, d) or (N, 2, d) floats."),
    ] = None,
    quality: Annotated[
        Path | None,
        typer.Option(exists=True, help="CSV of name,score: quality of each face; by default κ."),
    ] = None,
    flip: Annotated[bool, typer.Option(help="Average with the mirror image's embedding.")] = True,
    norm: Annotated[bool, typer.Option(help="Keep the embeddings' norms (N1).")] = True,
    detector_score: Annotated[
        bool, typer.Option(help="Multiply by the detector score (D1).")
    ] = True,
    pooling: Annotated[
        Literal["mean", "kappa"], typer.Option(help="How to average the faces of a medium.")
    ] = "mean",
    matching: Annotated[
        Literal["cosine", "mutual_likelihood"], typer.Option(help="How to score two templates.")
    ] = "cosine",
    vmf_dim: Annotated[int, typer.Option(min=2, help="Dimension n of the vMF distribution.")] = 256,
    galleries: Annotated[
        Literal["each", "merged"],
        typer.Option(help="Average over the galleries, or merge them as insightface's ijb_1n."),
    ] = "each",
    formulas: Annotated[
        Literal["definition", "insightface"],
        typer.Option(help="1:N figures by definition, or as insightface's ijb_evals.py."),
    ] = "definition",
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Bootstrap rounds for intervals; 0 for no intervals.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Number of threads that read photos.")] = 2,
    check_landmarks: Annotated[
        bool, typer.Option(help="Refuse landmarks that cannot belong to a face.")
    ] = True,
    detector: Detector = None,
) -> None:
    """Evaluate a model, or given embeddings, on IJB-B or IJB-C."""
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
    bins: Annotated[
        list[Path],
        typer.Argument(
            exists=True, dir_okay=False, show_default=False, help="Files such as lfw.bin."
        ),
    ],
    model: Model,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Evaluate a model on verification bins such as lfw.bin."""
    from lh2face.tools import evaluate_bins as tool

    tool.run(bins, model, out)


@app.command(rich_help_panel=TOOLS)
def reconstruct(
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for a sheet and an animation per face.")],
    model: Annotated[
        Path, typer.Option(exists=True, help="Folder of stage fit3d, or a jointly trained model.")
    ] = Path("runs/fit3d"),
    landmarks: Landmarks = None,
    detector: Detector = None,
) -> None:
    """Draw faces in 3D: depth, normals, other light and views.

    Images must be aligned faces, unless landmarks or a detector are given.
    """
    from lh2face.tools import reconstruct as tool

    tool.run(images, model, out, landmarks=landmarks, detector=detector)


@app.command(rich_help_panel=TOOLS)
def verify(
    first: Photo,
    second: Photo,
    model: Model,
    threshold: Annotated[
        float | None, typer.Option(help="Threshold on the score, instead of the model's own.")
    ] = None,
    far: Far = None,
    landmarks: Landmarks = None,
    detector: Detector = None,
) -> None:
    """Decide whether two photos show the same person.

    It prints the score, the threshold with its FAR and the data that the
    FAR was measured on, and the κ of both photos.

    Photos must be aligned faces of 112 × 112 px, unless landmarks or a
    detector are given.

    If the lowest FAR of the model is above 0.01, there is no verdict
    unless --far or --threshold is given. The exit status is 3 if there is
    no verdict, and 0 for either verdict.
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
        typer.Argument(
            exists=True, file_okay=False, show_default=False, help="Folder of NAME/PHOTO."
        ),
    ],
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder to write the gallery to.")],
    landmarks: Landmarks = None,
    detector: Detector = None,
) -> None:
    """Make a gallery of people from a folder of their photos.

    Photos must be aligned faces of 112 × 112 px, unless landmarks or a
    detector are given. Photos that cannot be used are listed in the file
    failures.csv of the gallery.
    """
    from lh2face.tools import enrol as tool

    tool.run(folder, model, out, landmarks=landmarks, detector=detector)


@app.command(rich_help_panel=TOOLS)
def identify(
    photos: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, show_default=False)],
    gallery: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of lh2face enrol.")
    ],
    model: Model,
    fpir: Annotated[
        float | None,
        typer.Option(help="Use the threshold for this FPIR, measured at enrolment; default 0.01."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Threshold on the score, instead of a measured one.")
    ] = None,
    landmarks: Landmarks = None,
    detector: Detector = None,
) -> None:
    """Find the person in a photo among the people of a gallery.

    It prints the threshold with its FPIR and, for each photo, κ, the five
    best candidates, and the one who scores above the threshold.

    Photos must be aligned faces of 112 × 112 px, unless landmarks or a
    detector are given.

    The exit status is 3 if a photo has no usable face, or if too few people
    are enrolled to decide at FPIR 0.01 and neither --fpir nor --threshold is
    given. Otherwise it is 0.
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
        typer.Option(
            exists=True,
            help="Folder of stage fit3d, or a jointly trained model, to show turned faces.",
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Face detector: mtcnn (the default, if it is installed), or an ONNX file of "
            "insightface."
        ),
    ] = None,
    far: Far = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any free port.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Compare two photos on a web page that runs on this machine.

    The page finds and aligns the faces of two photos. It shows the score,
    the verdict and the κ of both faces. With a reconstructor it also shows
    both canonical faces, which a slider turns.

    Photos never leave this machine, and are not stored.
    """
    from lh2face.demo import server

    server.run(
        model, reconstructor=reconstructor, detector=detector, far=far, port=port, browser=browser
    )


@app.command(rich_help_panel=TOOLS)
def doctor() -> None:
    """Check what this machine lacks, and say what to do.

    It checks packages, devices, memory, disk, programs and data folders.
    The exit status is 1 only if something required is missing.
    """
    from lh2face.tools import doctor as tool

    if not tool.run():
        raise typer.Exit(1)


@app.command(rich_help_panel=TOOLS)
def info(
    path: Annotated[Path, existing("Folder of a result, a file in it, or an exported ONNX file.")],
) -> None:
    """Print how a model, an evaluation or a report was made."""
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
    path: Annotated[Path, existing("File or folder with the aligned faces.")],
    out: Out,
) -> None:
    """Convert aligned faces of other formats to a train.rec."""
    from lh2face.tools import records as tool

    tool.run(source, path, out)


@app.command(rich_help_panel=ADAPTERS)
def export_onnx(
    checkpoint: Annotated[Path, existing("Folder of a trained model.")],
    out: OutFile,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Evaluation of the model: figures for its card, thresholds for verify.",
        ),
    ] = None,
) -> None:
    """Write a model as ONNX for insightface, with a model card."""
    from lh2face.adapters import insightface

    insightface.export_onnx(checkpoint, out, evaluation)


@app.command(rich_help_panel=ADAPTERS)
def arcface_torch(
    script: Annotated[Path, existing("The train_v2.py of an arcface_torch checkout.")],
    config: Annotated[
        str, typer.Argument(help="Config such as configs/NAME, which must set config.head.")
    ],
    config_dir: Annotated[
        Path | None, typer.Option(exists=True, help="Folder with your own configs.")
    ] = None,
) -> None:
    """Run insightface's own train_v2.py with a head of lh2face."""
    from lh2face.adapters import arcface_torch

    arcface_torch.run(script, config, config_dir)


def main() -> None:
    """Run the command line."""
    run_without_traceback(app)


def run_without_traceback(app: typer.Typer) -> None:
    """Run a command line; an error of the user is printed as one line, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal or file cannot show are escaped.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (ValueError, OSError) as error:
        fail(message_of(error))
    except ModuleNotFoundError as error:
        fail(f"{error}; `lh2face doctor` says how to install it")


def message_of(error: Exception) -> str:
    """Return the message of an error; for an error of the system, the file's name comes first."""
    if isinstance(error, OSError) and isinstance(error.filename, str | os.PathLike):
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return str(error)


def fail(message: str) -> None:
    """Print an error message, with control characters escaped, and exit with status 1."""
    lines = map(printable, message.splitlines())
    if os.environ.get(VERBOSE):
        print_exc()
    print("lh2face:", "\n".join(lines), file=sys.stderr)
    sys.exit(1)
