"""``lh2face STAGE``: one command a pipeline stage, files in and files out."""

import sys
from pathlib import Path
from typing import Annotated

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
