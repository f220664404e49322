"""``lh2face STAGE``: one command a pipeline stage, files in and files out."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="LH2Face: the stages of the pipeline, in the order in which data flows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

In = Annotated[Path, typer.Argument(exists=True, show_default=False)]
Out = Annotated[Path, typer.Argument(show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of the run.")]


def load():
    """The parameters of the folder the command runs in."""
    from lh2face.stages.params import load_params

    return load_params()


@app.command()
def data(out: Out) -> None:
    """Make or convert the faces: training records, benchmark, verification pairs."""
    from lh2face.stages import data as stage

    stage.run(load(), out)


@app.command()
def align(raw: In, out: Out) -> None:
    """Align every face to 112 × 112 by its five landmarks."""
    from lh2face.stages import align as stage

    stage.run(load(), raw, out)


@app.command()
def fit3d(aligned: In, out: Out) -> None:
    """Train the reconstructor on the aligned faces."""
    from lh2face.stages import fit3d as stage

    stage.run(load(), aligned, out)


@app.command()
def init(out: Out, seed: Seed) -> None:
    """Write the untrained network, the baseline row of the table."""
    from lh2face.stages import init as stage

    stage.run(load(), out, seed=seed)


@app.command()
def train(
    aligned: In,
    out: Out,
    head: Annotated[str, typer.Option(help="Name of a head in params.yaml.")],
    seed: Seed,
    reconstructor: Annotated[
        Path | None, typer.Option(exists=True, help="Fitted reconstructor: train jointly with it.")
    ] = None,
) -> None:
    """Train a recognizer with one head and one seed."""
    from lh2face.stages import train as stage

    stage.run(load(), aligned, out, head=head, seed=seed, reconstructor=reconstructor)


@app.command()
def embed(model: In, aligned: In, out: Out) -> None:
    """Embed the benchmark's faces with a trained model."""
    from lh2face.stages import embed as stage

    stage.run(load(), model, aligned, out)


@app.command()
def evaluate(embeddings: In, benchmark: In, out: Out) -> None:
    """Run the IJB 1:1 and 1:N protocols, the verification bins and the reject curves."""
    from lh2face.stages import evaluate as stage

    stage.run(load(), embeddings, benchmark, out)


@app.command()
def report(data: In, runs: In, out: Out) -> None:
    """Write the offline page that compares the heads."""
    from lh2face.stages import report as stage

    stage.run(load(), data, runs, out)


@app.command()
def records(
    source: Annotated[
        Literal["image_folder", "magface_list", "parquet", "webdataset"],
        typer.Argument(help="How the faces are kept.", show_default=False),
    ],
    path: In,
    out: Out,
) -> None:
    """Write aligned faces of another format as train.rec, train.idx and property."""
    from lh2face.tools import records as tool

    tool.run(source, path, out)


@app.command()
def compare(first: In, second: In) -> None:
    """Print the difference of two runs (folders such as runs/lh2face) with its interval."""
    from lh2face.tools import compare as tool

    tool.show(first, second)


@app.command()
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
        Path | None, typer.Option(exists=True, help="CSV of name,score to reject by; κ without.")
    ] = None,
    flip: Annotated[bool, typer.Option(help="Add the mirror image's embedding.")] = True,
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
    vmf_dim: Annotated[int, typer.Option(min=2, help="Dimension n that κ belongs to.")] = 256,
    galleries: Annotated[
        Literal["each", "merged"], typer.Option(help="Merged: as insightface's ijb_1n prints.")
    ] = "each",
    bootstrap: Annotated[int, typer.Option(min=0, help="Rounds for intervals.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and align.")] = 2,
) -> None:
    """Run IJB-B or IJB-C with a model, or with features."""
    from lh2face.evaluation.protocol import Protocol
    from lh2face.tools import evaluate_ijb as tool

    switches = Protocol(
        flip=flip, norm=norm, detector_score=detector_score, pooling=pooling, matching=matching,
        vmf_dim=vmf_dim, galleries=galleries, bootstrap=bootstrap, seed=seed,
    )  # fmt: skip
    tool.run(
        root, protocol, out, switches, model=model, checkpoint=checkpoint, features=features,
        quality=quality, workers=workers,
    )  # fmt: skip


@app.command()
def reconstruct(
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for a sheet and an animated turn a face.")],
    model: Annotated[
        Path, typer.Option(exists=True, help="Fitted reconstructor, or jointly trained model.")
    ] = Path("runs/fit3d"),
) -> None:
    """Draw aligned faces in 3D: depth, normals, relit, turned from −60° to 60°."""
    from lh2face.tools import reconstruct as tool

    tool.run(images, model, out)


@app.command()
def export_onnx(checkpoint: In, out: Out) -> None:
    """Write a trained model as an ONNX file for insightface's model_zoo."""
    from lh2face.adapters import insightface

    insightface.export_onnx(checkpoint, out)


@app.command()
def arcface_torch(
    script: In,
    config: Annotated[str, typer.Argument(help="configs/NAME, with a config.head.")],
    config_dir: Annotated[
        Path | None, typer.Option(exists=True, help="Folder of configs of your own.")
    ] = None,
) -> None:
    """Run insightface's train_v2.py, as it is, with one of the heads here."""
    from lh2face.adapters import arcface_torch

    arcface_torch.run(script, config, config_dir)


@app.command()
def params(overlay: In) -> None:
    """Put the values of an overlay such as params/full.yaml into params.yaml."""
    from lh2face.stages.params import overlay_params

    overlay_params(overlay)


def main() -> None:
    """Run the command line; what a user got wrong is one line, not a traceback."""
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        print(f"lh2face: {error}", file=sys.stderr)
        sys.exit(1)
