"""The sections ``compare``, ``others``, ``embed`` and ``evaluate``."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from lh2face.data.parameters import Seed
from lh2face.evaluation.protocol import MOST_ROUNDS, Protocol
from lh2face.params.sections import Name, Section, Seeds, ascending, from_dataclass, unique

# Names that no head or model may have: the pipeline uses them for folders beside theirs.
RESERVED = {"untrained", "fit3d", "depth"}


def not_reserved(name: str) -> str:
    """Return the name of a head or model; ``ValueError`` if it is reserved."""
    if name in RESERVED:
        raise ValueError(f"the name is reserved; all reserved names are {sorted(RESERVED)}")
    return name


HeadName = Annotated[Name, AfterValidator(not_reserved)]


# mypy does not accept a base class that a function returns.
class Evaluate(from_dataclass("Protocol", Protocol)):  # type: ignore[misc]
    """Options of the evaluation; see :class:`~lh2face.evaluation.protocol.Protocol`.

    Attributes:
        vmf_dim: Dimension n of the vMF distribution; None for the n of each model's head.
        bootstrap: Rounds of the bootstrap over templates.
    """

    vmf_dim: Annotated[int, Field(ge=2)] | None = None
    # YAML has lists, not tuples, so the container is not strict; the numbers in it are.
    far: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        Field(min_length=1, strict=False),
        AfterValidator(ascending),
    ]
    bootstrap: Annotated[int, Field(ge=2, le=MOST_ROUNDS)]
    seed: Seed = 0


class Other(Section):
    """A third-party model.

    Attributes:
        name: Name of its row in the table.
        path: Recognition ONNX file, such as insightface's ``w600k_r50.onnx``.
    """

    name: HeadName
    path: str


class Embed(Section):
    """How the embedding of a benchmark is divided into jobs.

    Attributes:
        shards: Number of jobs.
        shard: Numbers of the jobs: 0 … shards − 1.
    """

    shards: Annotated[int, Field(gt=0, le=10_000)]
    shard: list[int]

    @model_validator(mode="after")
    def _all_shards(self) -> "Embed":
        expected = list(range(self.shards))
        if self.shard != expected:
            raise ValueError(
                f"shard: found {self.shard!r:.100}, expected every number from 0 to "
                f"{self.shards - 1}, in order"
            )
        return self


class Compare(Section):
    """The runs of the pipeline: every head with every seed, tested on every benchmark.

    Attributes:
        heads: Names in ``heads`` that are trained without the reconstructor.
        joint_heads: Other names in ``heads``, which are trained jointly with the reconstructor.
        models: Rows of the table: ``untrained``, all of the above, and the names in ``others``.
        seeds: Seeds; every head is trained once per seed.
        benchmarks: All names in ``benchmarks``; every model is tested on each.
    """

    heads: Annotated[list[HeadName], AfterValidator(unique)]
    joint_heads: Annotated[list[HeadName], AfterValidator(unique)]
    models: Annotated[list[Name], AfterValidator(unique)]
    seeds: Seeds
    benchmarks: Annotated[list[Name], Field(min_length=1), AfterValidator(unique)]

    @model_validator(mode="after")
    def _heads_are_apart(self) -> "Compare":
        if not self.heads and not self.joint_heads:
            raise ValueError("heads, joint_heads: both are empty, there is nothing to train")
        if both := set(self.heads) & set(self.joint_heads):
            raise ValueError(f"joint_heads: found {sorted(both)}, which are also in heads")
        return self
