"""The schema of ``params.yaml``, which is checked before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationInfo, model_validator

from lh2face.data.benchmarks import BENCHMARKS, PAIRED
from lh2face.data.detectors import check_one_way
from lh2face.data.training_sources import TRAINING_SOURCES
from lh2face.params.comparison import Compare, Embed, Evaluate, HeadName, Other
from lh2face.params.people import check_people
from lh2face.params.sections import Name, ParamsError, Section, any_of, unique
from lh2face.params.training import Fit3D, Joint, Train
from lh2face.training.recipe_checks import check_recipe, check_reconstruction

# Arguments of a head that the training faces and the backbone determine.
OF_TRAINING = frozenset({"num_classes", "in_channels"})


class Params(Section):
    """The whole of ``params.yaml``.

    Attributes:
        workers: Number of processes or threads that make and align faces; results do not depend on
            it.
        sources: Sources of training faces, by a name of your choice. People of different sources
            count as different people.
        benchmarks: Benchmarks to test on, by a name of your choice.
        validation: Pairs of faces to validate the training on, by a name of your choice. The people
            in them are in no source and no benchmark.
        fit3d: Training of the reconstructor.
        compare: Heads, seeds and benchmarks that the pipeline runs.
        train: Training of the recognizers.
        joint: Weights of the joint loss.
        others: Third-party models, which are evaluated beside the trained ones.
        embed: Division of the embedding into jobs.
        heads: Types and arguments of heads, by a name of your choice.
        evaluate: Options of the evaluation.
    """

    workers: Annotated[int, Field(gt=0, le=1024)]
    sources: Annotated[dict[Name, any_of(TRAINING_SOURCES)], Field(min_length=1)]  # type: ignore[valid-type]
    benchmarks: Annotated[
        dict[Name, any_of(BENCHMARKS)], Field(min_length=1)  # type: ignore[valid-type]
    ]
    validation: dict[Name, any_of(PAIRED)]  # type: ignore[valid-type]
    fit3d: Fit3D
    compare: Compare
    train: Train
    joint: Joint
    others: list[Other]
    embed: Embed
    heads: dict[HeadName, dict[str, Any]]
    evaluate: Evaluate

    @model_validator(mode="after")
    def _parts_exist(self) -> "Params":
        from lh2face.registry import check

        for name, config in self.heads.items():
            check("head", config, f"heads.{name}", given=OF_TRAINING)
        for name in (*self.compare.heads, *self.compare.joint_heads):
            if name not in self.heads:
                raise ValueError(
                    f"compare: found the head {name!r}, expected one of heads: {sorted(self.heads)}"
                )
        others = unique([other.name for other in self.others])
        if both := set(others) & set(self.heads):
            raise ValueError(f"others: found {sorted(both)}, which are also names in heads")
        expected = {"untrained", *self.compare.heads, *self.compare.joint_heads, *others}
        if set(self.compare.models) != expected:
            raise ValueError(
                f"compare.models: found {self.compare.models}, expected {sorted(expected)}"
            )
        if set(self.compare.benchmarks) != set(self.benchmarks):
            raise ValueError(
                f"compare.benchmarks: found {self.compare.benchmarks}, expected the names of "
                f"benchmarks: {sorted(self.benchmarks)}"
            )
        return self

    @model_validator(mode="after")
    def _recipes_can_be_built(self, info: ValidationInfo) -> "Params":
        folder = (info.context or {}).get("folder", Path())
        heads = {f"heads.{name}": config for name, config in self.heads.items()}
        checks = {
            "train": lambda recipe: check_recipe(recipe, heads),
            "fit3d": check_reconstruction,
        }
        for section, check_it in checks.items():
            try:
                check_it(getattr(self, section).recipe(folder))
            except ValueError as error:
                raise ValueError(f"{section}: {error}") from error
        return self

    @model_validator(mode="after")
    def _trainings_do_not_begin_with_what_they_write(self, info: ValidationInfo) -> "Params":
        runs = ((info.context or {}).get("folder", Path()) / "runs").resolve()
        for init in self.train.init:
            below = (runs.parent / init.path).resolve()
            if below.is_relative_to(runs) and {*below.relative_to(runs).parts[:1]} & {
                "untrained", *self.compare.heads, *self.compare.joint_heads,
            }:  # fmt: skip
                raise ValueError(
                    f"train.init: found the path {init.path!r}, which this pipeline writes; begin "
                    f"with a copy: cp -r {init.path} start"
                )
        return self

    @model_validator(mode="after")
    def _faces_are_found_in_one_way(self) -> "Params":
        for section in ("sources", "benchmarks", "validation"):
            for name, config in getattr(self, section).items():
                check_one_way(config, f"{section}.{name}")
        return self

    @model_validator(mode="after")
    def _nobody_is_trained_and_tested_on(self) -> "Params":
        check_people(self.sources, self.benchmarks, self.validation)
        return self

    def source(self, name: str) -> Any:
        """Make the training source with a name.

        Raises:
            ParamsError: If there is no such source.
        """
        return _built(TRAINING_SOURCES, self.sources, "sources", name)

    @property
    def paired(self) -> dict[str, Any]:
        """The sections of ``benchmarks`` and ``validation``, which share no names."""
        return {**self.benchmarks, **self.validation}

    def benchmark(self, name: str) -> Any:
        """Make the benchmark or validation with a name.

        Raises:
            ParamsError: If there is no such benchmark or validation.
        """
        return _built(BENCHMARKS, self.paired, "benchmarks, validation", name)


def _built(registry: Mapping[str, type], sections: Mapping[str, Any], key: str, name: str) -> Any:
    """Build the object that a section of the parameters describes."""
    if name not in sections:
        raise ParamsError(f"{key}: found {name!r:.100}, allowed are {sorted(sections)}")
    values = sections[name].model_dump()
    return TypeAdapter(registry[values.pop("type")]).validate_python(values)
