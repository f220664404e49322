"""The plan of the study on real faces: its schema, and the runs that follow from it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from lh2face.data.parameters import Seed
from lh2face.params import read_yaml
from lh2face.params.comparison import HeadName
from lh2face.params.messages import checked
from lh2face.params.overlays import merge
from lh2face.params.sections import Name, PositiveInt, Section, Seeds
from lh2face.params.training import Joint

Config = dict[str, Any]
# Name of the part that trains every candidate.
TUNING = "tuning"


class Tuning(Section):
    """How candidates are compared: on people of ``wild`` who are not in the training.

    Attributes:
        people: Number of these people.
        epochs: Passes over the photos of the other people.
        seed: Seed of the choice of people and of the trainings.
        far: The candidate with the best TAR at this FAR, over all pairs of their photos, is chosen.
    """

    people: PositiveInt
    epochs: PositiveInt
    seed: Seed
    far: Annotated[float, Field(gt=0, lt=1)]


class Synthetic(Section):
    """Synthetic people for a first training; the keys are those of the source ``synthetic``."""

    people: PositiveInt
    images_per_person: PositiveInt
    seed: Seed
    epochs: PositiveInt


class Reconstructor(Section):
    """The reconstructor of the parts with joint training, trained on ``wild`` first.

    Attributes:
        config: Its config; it reads images of the plan's size.
        transforms: Configs of the random transforms of its training faces.
        epochs: Passes over these faces.
        seed: Seed of its training.
    """

    config: Config
    transforms: list[Config]
    epochs: PositiveInt
    seed: Seed


class Part(Section):
    """A part of the study, which compares heads.

    Attributes:
        about: Title of the part on the page.
        folds: Number of groups into which the people of ``cfp`` are divided by their official
            folds. Each group is tested by models that are trained on ``wild`` and all other groups.
            With 0, models are trained on ``wild`` only and tested on all people.
        heads: Names of heads; each has the config that was chosen from its candidates.
        epochs: Passes over the training faces.
        seeds: Seeds of the trainings.
        views: Names of entries of :attr:`Plan.views`.
        synthetic: Synthetic people for a first training; ``None`` to begin with random weights.
        joint: Fusion and weights of joint training with the reconstructor; ``None`` to train
            recognizers alone.
        against: An earlier part, with which each row of this part is compared.
    """

    about: str
    folds: Annotated[int, Field(ge=0, le=8)]
    heads: Annotated[list[HeadName], Field(min_length=1)]
    epochs: PositiveInt
    seeds: Seeds
    views: Annotated[list[Name], Field(min_length=1)]
    synthetic: Synthetic | None = None
    joint: Joint | None = None
    against: Name | None = None


class Plan(Section):
    """The study on real faces.

    Attributes:
        size: Side of the faces, px.
        backbone: Config of the network.
        batch: Images per step.
        subject: The head that is compared with each other one.
        tuning: How the candidates are compared.
        candidates: Configs of heads, the same number for each head.
        variants: Configs of further heads, which are not chosen from candidates. They are
            improvements of the subject, found on people of ``wild``.
        views: Configs of the transforms of the training faces, by name.
        landmarks: Views whose transforms get the landmarks of the faces.
        reconstructor: The reconstructor of the parts with joint training.
        parts: Parts by name, in the order in which they run.
    """

    size: PositiveInt
    backbone: Config
    batch: PositiveInt
    subject: HeadName
    tuning: Tuning
    candidates: dict[HeadName, Annotated[list[Config], Field(min_length=1)]]
    variants: dict[HeadName, Config] = Field(default_factory=dict)
    views: dict[Name, list[Config]]
    landmarks: list[Name] = Field(default_factory=list)
    reconstructor: Reconstructor | None = None
    parts: dict[Name, Part]

    def subjects(self, part: Part) -> list[str]:
        """Return the heads of a part that are the subject or its variants."""
        return [head for head in part.heads if head in (self.subject, *self.variants)]

    @model_validator(mode="after")
    def _check(self) -> "Plan":
        sizes = {len(configs) for configs in self.candidates.values()}
        if len(sizes) > 1:
            raise ValueError(
                f"candidates: expected the same number for each head, found {sorted(sizes)}"
            )
        if unknown := set(self.landmarks) - set(self.views):
            raise ValueError(f"landmarks: found {sorted(unknown)}, allowed are {list(self.views)}")
        if TUNING in self.parts:
            raise ValueError(f"parts: {TUNING!r} is reserved")
        for name, part in self.parts.items():
            allowed = {"heads": [*self.candidates, *self.variants], "views": list(self.views)}
            for key, names in allowed.items():
                if unknown := set(getattr(part, key)) - set(names):
                    raise ValueError(
                        f"parts.{name}.{key}: found {sorted(unknown)}, allowed are {names}"
                    )
            if self.subject not in part.heads:
                raise ValueError(f"parts.{name}.heads: the subject {self.subject!r} is missing")
            earlier = list(self.parts)[: list(self.parts).index(name)]
            if part.against is not None and part.against not in earlier:
                raise ValueError(
                    f"parts.{name}.against: found {part.against!r}, allowed are {earlier}"
                )
            if part.joint and self.reconstructor is None:
                raise ValueError(
                    f"parts.{name}.joint: expected a reconstructor in the plan, found none"
                )
        return self


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        part: Name of the part.
        head: Name of the head.
        config: Config of the head.
        view: Name of the view.
        transforms: Configs of the view's transforms.
        epochs: Passes over the training faces.
        seed: Seed of the training.
        fold: Number of the group of people who are left out, from 1; 0 without folds.
        folds: Number of groups, as in the part.
        synthetic: Synthetic people for a first training.
        joint: Fusion and weights of joint training.
        reconstructor: The plan's reconstructor, for joint training.
        landmarks: Whether the transforms get the landmarks.
    """

    part: str
    head: str
    config: Config
    view: str
    transforms: list[Config]
    epochs: int
    seed: int
    fold: int = 0
    folds: int = 0
    synthetic: Config | None = None
    joint: Config | None = None
    reconstructor: Config | None = None
    landmarks: bool = False

    @property
    def name(self) -> str:
        """Name of the run's file, without its suffix."""
        fold = f"-{self.fold}" if self.folds else ""
        return f"{self.part}/{self.head}-{self.view}-{self.seed}{fold}"

    def settings(self, plan: Plan) -> Config:
        """Return everything that determines the result, except the photos and the code."""
        shared = {"size": plan.size, "backbone": plan.backbone, "batch": plan.batch}
        tuning = plan.tuning.model_dump() if self.part == TUNING else None
        # None where earlier results name nothing.
        landmarks = self.landmarks or None
        return {**asdict(self), **shared, "tuning": tuning, "landmarks": landmarks}


def tuning_runs(plan: Plan) -> Iterator[Run]:
    """Yield a run for each candidate; its name ends with the candidate's number."""
    view = next(iter(plan.views))
    for head, configs in plan.candidates.items():
        for number, config in enumerate(configs):
            yield Run(
                TUNING, f"{head}-{number}", config, view, plan.views[view], plan.tuning.epochs,
                plan.tuning.seed,
            )  # fmt: skip


def part_runs(plan: Plan, name: str, chosen: dict[str, Config]) -> Iterator[Run]:
    """Yield the runs of a part, ordered by seed."""
    part = plan.parts[name]
    synthetic = part.synthetic and part.synthetic.model_dump()
    joint = part.joint and part.joint.model_dump()
    reconstructor = plan.reconstructor.model_dump() if plan.reconstructor and joint else None
    for seed in part.seeds:
        for head in part.heads:
            for view in part.views:
                for fold in range(1, part.folds + 1) if part.folds else [0]:
                    yield Run(
                        name, head, chosen[head], view, plan.views[view], part.epochs, seed, fold,
                        part.folds, synthetic, joint, reconstructor, view in plan.landmarks,
                    )  # fmt: skip


def load_plan(path: Path, over: Path | None = None) -> Plan:
    """Read and check the plan.

    Args:
        path: The plan.
        over: An overlay, whose values override those of the plan, such as a larger network.

    Raises:
        ParamsError: If a key is unknown, missing or has a value that is not allowed.
    """
    values = read_yaml(path)
    if over is not None:
        merge(values, read_yaml(over))
    return checked(Plan, values, over or path)
