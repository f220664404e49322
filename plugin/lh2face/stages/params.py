"""The typed form of ``params.yaml``: every knob of the pipeline, checked before anything runs."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
# Names become parts of paths and of command lines.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Weight = Annotated[float, Field(ge=0)]
Source = Literal["synthetic", "image_folder"]
Checked = TypeVar("Checked", bound=BaseModel)


class ParamsError(ValueError):
    """``params.yaml`` cannot be used; the message names each key at fault."""


class Section(BaseModel):
    """A part of ``params.yaml``: no unknown keys, no silent conversions from text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _from_dataclass(name: str, cls: type) -> type[Section]:
    """A section with the fields, types and defaults of a dataclass, so each knob is named once."""
    import dataclasses
    import typing

    hints = typing.get_type_hints(cls)
    fields = {field.name: (hints[field.name], field.default) for field in dataclasses.fields(cls)}
    return create_model(name, __base__=Section, __doc__=cls.__doc__, **fields)


def _synthetic() -> type[Section]:
    from lh2face.data.synthetic import SyntheticConfig

    return _from_dataclass("Synthetic", SyntheticConfig)


class ImageFolder(Section):
    """One's own photos: ``root/<identity>/*``.

    Attributes:
        root: Folder with one folder a person.
        aligned: The faces are upright, centred and fill the image; else ``landmarks`` is needed.
        landmarks: CSV without header: path below ``root``, then x, y of left eye, right eye, nose,
            left and right mouth corner, px.
        benchmark_fraction: Share of the people who are kept for the benchmark.
        fold: Which share of them; the folds have no person in common.
    """

    root: str
    aligned: bool = False
    landmarks: str | None = None
    benchmark_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25
    fold: Annotated[int, Field(ge=0)] = 0


class Data(Section):
    """Where the faces come from.

    Attributes:
        source: Rendered people, or a folder of photos.
        benchmark_source: Likewise, where the benchmark's is another than ``source``; each then has
            everybody of its own.
        seed: Seed of the people, their photographs, the split and the pairs.
    """

    source: Source
    benchmark_source: Source | None = None
    seed: int = 0
    synthetic: _synthetic()  # type: ignore[valid-type]
    image_folder: ImageFolder

    @property
    def source_of_benchmark(self) -> str:
        """Where the benchmark's faces come from."""
        return self.benchmark_source or self.source


class Fit3D(Section):
    """Training of the reconstructor on the aligned faces.

    Attributes:
        reconstructor: Registered reconstructor and its arguments.
        steps: Optimizer steps.
        batch_size: Faces a step.
        lr: Learning rate of Adam.
        seed: Seed of weights and batches.
    """

    reconstructor: dict[str, Any]
    steps: PositiveInt
    batch_size: PositiveInt
    lr: Annotated[float, Field(gt=0)]
    seed: int = 0


class Train(Section):
    """Training of a recognizer, the same for every head.

    Attributes:
        backbone: Registered backbone and its arguments.
        image_size: Side of what the backbone reads, px; the aligned faces have 112.
        batch_size: Faces a step, of all processes together.
        epochs: Passes over the training faces.
        warmup_epochs: Epochs in which the learning rate rises; it then falls by a cosine.
        optimizer: One of PyTorch's and its arguments.
        workers: Processes that load faces; 0 for the training process itself.
    """

    backbone: dict[str, Any]
    image_size: Annotated[int, Field(ge=32, multiple_of=8)]
    batch_size: PositiveInt
    epochs: PositiveInt
    warmup_epochs: Annotated[float, Field(ge=0)]
    optimizer: dict[str, Any]
    workers: Annotated[int, Field(ge=0)]


class Joint(Section):
    """Weights of the joint loss (arXiv 2506.23555): reconstruction, canonical face, view.

    Attributes:
        reco_weight: Weight of the reconstructor's own loss.
        canon_weight: Weight of the head's loss on the canonical face.
        view_weight: Weight of the view's consistency under mirroring.
        fusion: What the backbone reads beside the image.
    """

    reco_weight: Weight
    canon_weight: Weight
    view_weight: Weight
    fusion: Literal["none", "canonical", "canonical_depth"]


def _protocol() -> type[Section]:
    from lh2face.evaluation.protocol import Protocol

    return _from_dataclass("Protocol", Protocol)


class Evaluate(_protocol()):
    """Switches of the IJB protocol and of the figures drawn from it.

    Attributes:
        bootstrap: Rounds of the bootstrap over templates.
    """

    vmf_dim: Annotated[int, Field(ge=2)]
    far: tuple[Annotated[float, Field(gt=0, lt=1)], ...]
    bootstrap: Annotated[int, Field(ge=2)]


class Embed(Section):
    """How the benchmark is divided into jobs.

    Attributes:
        shards: Number of jobs that embed it.
        shard: Their numbers: 0 … shards − 1.
    """

    shards: PositiveInt
    shard: list[int]

    @model_validator(mode="after")
    def _all_shards(self) -> "Embed":
        expected = list(range(self.shards))
        if self.shard != expected:
            raise ValueError(f"shard: found {self.shard}, shards wants {expected}")
        return self


class Compare(Section):
    """What the DAG runs over: every head with every seed.

    Attributes:
        heads: Heads trained alone, names out of ``heads``.
        joint_heads: Heads trained together with the reconstructor, names out of ``heads``.
        models: The rows of the table: ``untrained`` and all of the above.
        seeds: A run of every head each.
    """

    heads: list[Name]
    joint_heads: list[Name]
    models: list[Name]
    seeds: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _models_are_all(self) -> "Compare":
        expected = {"untrained", *self.heads, *self.joint_heads}
        if set(self.models) != expected:
            raise ValueError(f"models: found {self.models}, expected {sorted(expected)}")
        return self


class Params(Section):
    """All of ``params.yaml``.

    Attributes:
        workers: Processes of stages data and align; results do not depend on it.
        heads: Registered heads and their arguments, by a name of your choice.
    """

    workers: PositiveInt
    data: Data
    fit3d: Fit3D
    compare: Compare
    train: Train
    joint: Joint
    embed: Embed
    heads: dict[str, dict[str, Any]]
    evaluate: Evaluate

    @model_validator(mode="after")
    def _parts_exist(self) -> "Params":
        import torch

        import lh2face  # noqa: F401  registers
        from lh2face.registry import build, check

        backbone, size = self.train.backbone, self.train.image_size
        if "embedding_size" not in backbone:
            raise ValueError("train.backbone.embedding_size: missing")
        # Without memory, and without a draw from PyTorch's generator, which runs depend on.
        with torch.device("meta"):
            build("backbone", backbone, "train.backbone", image_size=size, in_channels=3)
        parameter = torch.nn.Parameter(torch.zeros(1))
        build("optimizer", self.train.optimizer, "train.optimizer", params=[parameter])
        check("reconstructor", self.fit3d.reconstructor, "fit3d.reconstructor")
        for name, config in self.heads.items():
            check("head", config, f"heads.{name}", given={"num_classes", "in_channels"})
        for name in (*self.compare.heads, *self.compare.joint_heads):
            if name not in self.heads:
                raise ValueError(
                    f"compare: found the head {name!r}, allowed are {sorted(self.heads)} (heads)"
                )
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameters.

    Raises:
        ParamsError: If the file is missing, is not YAML, or a key is unknown, missing or has a
            value that is not allowed.
    """
    return checked(Params, read_yaml(path), path)


def read_yaml(path: Path) -> dict[str, Any]:
    """The values of a YAML file; none of an empty one.

    Raises:
        ParamsError: If the file is missing or is not YAML.
    """
    try:
        return YAML(typ="safe").load(path) or {}
    except FileNotFoundError:
        raise ParamsError(f"{path}: not found; run from the folder that holds it") from None
    except YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None


def checked(schema: type[Checked], values: dict[str, Any], path: Path) -> Checked:
    """The values of a file in their schema; :class:`ParamsError` names what is not allowed."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines = [f"{path}: {in_words(item)}" for item in error.errors()]
        raise ParamsError("\n".join(lines)) from None


def in_words(error: ErrorDetails) -> str:
    """One of pydantic's errors as a line that begins with the key."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    key = ".".join(map(str, error["loc"]))
    # What was found is the key itself here, and all that stands beside or below it.
    plain = {"extra_forbidden": "unknown key", "missing": "missing"}.get(error["type"])
    return f"{key}: {plain}" if plain else f"{key}: {error['msg']}, found {error['input']!r}"


def overlay_params(overlay: Path, path: Path = Path("params.yaml")) -> None:
    """Put the values of ``overlay`` into ``params.yaml``, keeping its comments and other keys.

    Raises:
        ParamsError: If the result would not be valid; the file is then left as it was.
    """
    from lh2face.artifacts.outputs import atomic_file

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 100
    values = yaml.load(path)
    merge(values, read_yaml(overlay))
    with atomic_file(path) as partial:
        yaml.dump(values, partial)
        load_params(partial)


def merge(base: dict[str, Any], update: dict[str, Any]) -> None:
    """Put the values of ``update`` into ``base``, section by section."""
    for key, value in update.items():
        # A config with a type is one value: its arguments belong to that type alone.
        if isinstance(value, dict) and isinstance(base.get(key), dict) and "type" not in value:
            merge(base[key], value)
        else:
            base[key] = value
