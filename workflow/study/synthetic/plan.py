"""The plan of the study: the schema of ``plan.yaml``, and the parameters of each part."""

from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from lh2face.evaluation.metric_names import title
from lh2face.params import read_yaml
from lh2face.params.comparison import HeadName
from lh2face.params.messages import checked
from lh2face.params.overlays import merge
from lh2face.params.schema import OF_TRAINING
from lh2face.params.sections import Name, PositiveInt, Section, Seeds, unique

# The head that the study is about: a key of ``candidates``, whose config ``variants`` change.
SUBJECT = "lh2face"
Heads = dict[str, dict[str, Any]]


class Part(Section):
    """A part of the study: a run of the pipeline in its own folder, or one run per fold.

    Attributes:
        about: Title of the part on the page.
        models: Heads to train. "candidates" means every candidate, "chosen" the chosen candidate of
            each head, "variants" the subject and its variants, "subject" only the subject. A list
            names chosen heads and variants, of which the first is compared with each other one.
        tuning: The part whose candidates the heads are chosen from.
        joint: Whether the heads are trained together with the reconstructor.
        seeds: Seeds; every head is trained once per seed.
        figures: Figures to show, as paths in ``metrics.json``.
        reference: For "subject": the part with whose subject it is compared, seed by seed; ``None``
            for no comparison.
        folds: Number of folds over the people of image folders, with one run per fold.
        params: Further values that override ``params.yaml``.
    """

    about: str
    models: (
        Literal["candidates", "chosen", "variants", "subject"]
        | Annotated[list[HeadName], Field(min_length=1), AfterValidator(unique)]
    )
    tuning: Name = "tuning"
    joint: bool = False
    seeds: Seeds
    figures: Annotated[list[str], Field(min_length=1), AfterValidator(unique)]
    reference: Name | None = None
    folds: PositiveInt = 1
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _figures_exist(self) -> "Part":
        for path in self.figures:
            title(path)
        return self


class Plan(Section):
    """The whole of ``plan.yaml``.

    Attributes:
        base: Values that override ``params.yaml`` in every part.
        select: The figure by which candidates are chosen.
        candidates: Configs by head; all heads have the same number of them.
        variants: Changes of the subject's chosen config, by name.
        findings: File name of the template of the findings; it lies beside that of the page.
        parts: Parts by name, in the order in which they run; ``tuning`` is the first.
    """

    base: dict[str, Any]
    select: str
    candidates: dict[HeadName, Annotated[list[dict[str, Any]], Field(min_length=1)]]
    variants: dict[HeadName, dict[str, Any]]
    findings: str | None = None
    parts: dict[Name, Part]

    @model_validator(mode="after")
    def _heads_exist(self) -> "Plan":
        from lh2face.registry import check

        for name, configs in self.candidates.items():
            for number, config in enumerate(configs):
                check("head", config, f"candidates.{name}.{number}", given=OF_TRAINING)
        for name, change in self.variants.items():
            for config in self.candidates.get(SUBJECT, []):
                check("head", {**config, **change}, f"variants.{name}", given=OF_TRAINING)
        return self

    @model_validator(mode="after")
    def _fair(self) -> "Plan":
        counts = {name: len(configs) for name, configs in self.candidates.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"candidates: expected the same number for every head, found {counts}")
        if SUBJECT not in counts:
            raise ValueError(f"candidates: {SUBJECT} is missing, found {sorted(counts)}")
        names = {*self.candidates, *self.variants}
        if both := set(self.candidates) & set(self.variants):
            raise ValueError(f"variants: found {sorted(both)}, which are names of candidates")
        tunings: list[str] = []
        for name, part in self.parts.items():
            if part.models == "candidates":
                tunings.append(name)
                if self.select not in part.figures:
                    raise ValueError(
                        f"select: found {self.select!r}, allowed are the figures of "
                        f"parts.{name}: {part.figures}"
                    )
            elif part.tuning not in tunings:
                raise ValueError(
                    f"parts.{name}.tuning: found {part.tuning!r}, allowed are the parts of "
                    f"candidates before it: {tunings}"
                )
            if isinstance(part.models, list) and (unknown := set(part.models) - names):
                raise ValueError(
                    f"parts.{name}.models: found {sorted(unknown)}, allowed are {sorted(names)}"
                )
            if part.reference not in (None, *self.parts):
                raise ValueError(
                    f"parts.{name}.reference: found {part.reference!r}, allowed are "
                    f"{list(self.parts)}"
                )
        return self

    @model_validator(mode="after")
    def _one_benchmark(self) -> "Plan":
        for name in self.parts:
            found = self._data(name).get("compare", {}).get("benchmarks")
            if not isinstance(found, list) or len(found) != 1:
                raise ValueError(
                    f"parts.{name}.params.compare.benchmarks: expected one name, there or in base, "
                    f"found {found}"
                )
        return self

    def _data(self, name: str) -> dict[str, Any]:
        """Return the parameters that all heads of a part share."""
        values: dict[str, Any] = deepcopy(self.base)
        merge(values, deepcopy(self.parts[name].params))
        return values

    def benchmark(self, name: str) -> str:
        """Return the benchmark of a part."""
        found: str = self._data(name)["compare"]["benchmarks"][0]
        return found

    def evaluations(
        self, root: Path, name: str, model: str, seeds: list[int] | None = None
    ) -> list[Path]:
        """Return the folders of a part's evaluations of a model, for each fold and seed."""
        part = self.parts[name]
        return [
            folder / "runs" / model / str(seed) / "evaluation" / self.benchmark(name)
            for folder in folders(root, name, part)
            for seed in seeds or part.seeds
        ]

    def all_candidates(self) -> Heads:
        """Return all candidates, by the names ``HEAD-NUMBER``."""
        return {
            f"{head}-{number}": config
            for head, configs in self.candidates.items()
            for number, config in enumerate(configs)
        }

    def heads(self, part: Part, chosen: Heads) -> Heads:
        """Return the heads of a part, by their names in ``params.yaml``."""
        if part.models == "candidates":
            return self.all_candidates()
        subject = chosen[SUBJECT]
        variants = {name: {**subject, **change} for name, change in self.variants.items()}
        every = {**chosen, **variants}
        named = {"chosen": chosen, "subject": [SUBJECT], "variants": [SUBJECT, *variants]}
        names = named[part.models] if isinstance(part.models, str) else part.models
        return {name: every[name] for name in names}

    def contender(self, part: Part) -> str | None:
        """Return the head that a part compares with each of its other heads, or ``None``."""
        if isinstance(part.models, list):
            return part.models[0]
        return SUBJECT if part.models == "chosen" else None

    def overlay(self, name: str, fold: int, chosen: Heads) -> dict[str, Any]:
        """Return the values with which a part, or a fold of it, overrides ``params.yaml``."""
        part = self.parts[name]
        heads = self.heads(part, chosen)
        values: dict[str, Any] = deepcopy(self.base)
        merge(values, deepcopy(part.params))
        merge(
            values,
            {
                "heads": heads,
                "compare": {
                    "heads": [] if part.joint else [*heads],
                    "joint_heads": [*heads] if part.joint else [],
                    "models": ["untrained", *heads],
                    "seeds": part.seeds,
                },
            },
        )
        if part.folds > 1:
            for section in ("sources", "benchmarks"):
                for config in values[section].values():
                    config["held_out"] |= {"fold": fold, "fraction": 1 / part.folds}
        return values


def folders(root: Path, name: str, part: Part) -> list[Path]:
    """Return the folders of a part: one, or one per fold."""
    if part.folds == 1:
        return [root / name]
    return [root / f"{name}-{fold}" for fold in range(part.folds)]


def load_plan(path: Path, over: Path | None = None) -> Plan:
    """Read and check the plan.

    Args:
        path: The plan.
        over: An overlay of ``params.yaml``, such as one with larger sizes, which overrides
            ``base``.

    Raises:
        ParamsError: If a key is unknown, missing or has a value that is not allowed.
    """
    values = read_yaml(path)
    if over is not None:
        merge(values, {"base": read_yaml(over)})
    return checked(Plan, values, path)
