"""What the study runs: ``params/study.yaml``, checked, and the parameters of each of its parts."""

from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML

from lh2face.stages.params import Name, ParamsError, PositiveInt, Section, in_words, merge

# The head that the study is about, in ``candidates``; what ``variants`` change.
SUBJECT = "lh2face"
Heads = dict[str, dict[str, Any]]


class Part(Section):
    """A run of the pipeline in a folder of its own, or one a fold.

    Attributes:
        about: What it answers, for the page.
        models: Which heads: every candidate; of each head the one chosen from them; the variants
            of the subject, and itself; the subject alone; or those named, chosen heads and
            variants, the first of which is compared with each of the others.
        joint: Whether they are trained together with the reconstructor.
        seeds: A run of every head each.
        figures: What is shown of it, by path in ``metrics.json``.
        reference: Of the subject alone, the part whose subject it is compared with, seed by seed;
            None: with none.
        folds: Number of folds of ``data.image_folder``, each a run of the pipeline.
        params: What else is put over ``params.yaml``.
    """

    about: str
    models: Literal["candidates", "chosen", "variants", "subject"] | list[Name]
    joint: bool = False
    seeds: list[Annotated[int, Field(ge=0)]]
    figures: list[str]
    reference: Name | None = None
    folds: PositiveInt = 1
    params: dict[str, Any] = Field(default_factory=dict)


class Plan(Section):
    """All of ``params/study.yaml``.

    Attributes:
        base: Put over ``params.yaml`` in every part.
        select: The figure of the part ``tuning`` by which candidates are chosen.
        candidates: Configs by head, as many for each.
        variants: Changes of the subject's chosen config, by name.
        findings: Template, beside that of the page, of what is concluded from the results.
        parts: By name, in the order in which they run; ``tuning`` is the first.
    """

    base: dict[str, Any]
    select: str
    candidates: dict[Name, list[dict[str, Any]]]
    variants: dict[Name, dict[str, Any]]
    findings: str | None = None
    parts: dict[Name, Part]

    @model_validator(mode="after")
    def _fair(self) -> "Plan":
        counts = {name: len(configs) for name, configs in self.candidates.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"candidates: every head is to have as many, found {counts}")
        if SUBJECT not in counts:
            raise ValueError(f"candidates: {SUBJECT} is missing, found {sorted(counts)}")
        names = {*self.candidates, *self.variants}
        for name, part in self.parts.items():
            if isinstance(part.models, list) and (unknown := set(part.models) - names):
                raise ValueError(
                    f"parts.{name}.models: found {sorted(unknown)}, allowed are {sorted(names)}"
                )
            if part.reference not in (None, *self.parts):
                raise ValueError(
                    f"parts.{name}.reference: found {part.reference!r}, allowed are "
                    f"{list(self.parts)}"
                )
        if next(iter(self.parts), None) != "tuning":
            raise ValueError(f"parts: the first must be tuning, found {list(self.parts)}")
        return self

    def all_candidates(self) -> Heads:
        """Every candidate, named ``HEAD-NUMBER``."""
        return {
            f"{head}-{number}": config
            for head, configs in self.candidates.items()
            for number, config in enumerate(configs)
        }

    def heads(self, part: Part, chosen: Heads) -> Heads:
        """The heads of a part, by the names that they have in ``params.yaml``."""
        if part.models == "candidates":
            return self.all_candidates()
        subject = chosen[SUBJECT]
        variants = {name: {**subject, **change} for name, change in self.variants.items()}
        names = {
            "chosen": [*chosen],
            "subject": [SUBJECT],
            "variants": [SUBJECT, *variants],
        }.get(str(part.models), part.models)
        return {name: {**chosen, **variants}[name] for name in names}

    def contender(self, part: Part) -> str | None:
        """The head that a part compares with each of its others; None where it has no such."""
        if isinstance(part.models, list):
            return part.models[0]
        return SUBJECT if part.models == "chosen" else None

    def overlay(self, name: str, fold: int, chosen: Heads) -> dict[str, Any]:
        """What a part, or a fold of it, puts over ``params.yaml``."""
        part = self.parts[name]
        heads = self.heads(part, chosen)
        values: dict[str, Any] = deepcopy(self.base)
        # κ belongs to the subject's distribution, unless the part says otherwise.
        dim = chosen.get(SUBJECT, {}).get("vmf_dim")
        if dim is not None:
            merge(values, {"evaluate": {"vmf_dim": dim}})
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
            merge(values, {"data": {"image_folder": {"fold": fold}}})
        return values


def folders(root: Path, name: str, part: Part) -> list[Path]:
    """Where a part runs: one folder, or one a fold."""
    if part.folds == 1:
        return [root / name]
    return [root / f"{name}-{fold}" for fold in range(part.folds)]


def load_plan(path: Path, over: Path | None = None) -> Plan:
    """Read and check the plan.

    Args:
        path: The plan.
        over: An overlay of ``params.yaml``, such as one of larger sizes, put over ``base``.

    Raises:
        ParamsError: If a key is unknown, missing or has a value that is not allowed.
    """
    try:
        values = YAML(typ="safe").load(path)
        if over is not None:
            merge(values["base"], YAML(typ="safe").load(over))
        return Plan.model_validate(values)
    except FileNotFoundError:
        raise ParamsError(f"{path}: not found; run from the folder that holds it") from None
    except ValidationError as error:
        lines = [f"{path}: {in_words(item)}" for item in error.errors()]
        raise ParamsError("\n".join(lines)) from None
