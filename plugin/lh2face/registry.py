"""mmengine's root registries, in which the package registers its classes, and safe building.

A config finds a name in a root registry under any toolbox's ``default_scope``, because the look-up
goes from the toolbox's registry to its parent, the root. A name in another toolbox's registry would
need a prefix.

mmengine's own ``build`` imports the module that a dotted name or ``_scope_`` gives. A config in
Python may need that. But a data file (``model.json``, ``params.yaml``) must not choose what code
runs, so its configs are built by :func:`build` or checked by :func:`check`. These accept registered
classes only.
"""

import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIMIZERS, TRANSFORMS, Registry

from lh2face.text import first_line

__all__ = [
    "DATASETS", "HOOKS", "METRICS", "MODELS", "OPTIMIZERS", "ROLES", "TRANSFORMS", "Registry",
    "Role", "build", "check", "check_arguments",
]  # fmt: skip


# The module that registers the package's classes. It imports this one, so here is only its name.
REGISTER = "lh2face.register"
# A class that builds its parts by name may be used without a config that imports REGISTER. So the
# first look-up in a registry imports it. mmengine accepts such locations only when it creates a
# registry, so they are added to the attribute.
for _registry in (DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS):
    _registry._locations.append(REGISTER)
    _registry._imported = False


class Role(NamedTuple):
    """What a class must have to serve as one part of a model, such as its backbone.

    Attributes:
        arguments: Names of arguments that the constructor must take.
        methods: Names of methods that the class must have.
        registry: Registry of the classes.
    """

    arguments: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    registry: Registry = MODELS

    def classes(self) -> dict[str, type]:
        """Return the registered classes that can serve as this part, by name."""
        import_module(REGISTER)

        found = sorted(self.registry.module_dict.items())
        return {name: cls for name, cls in found if inspect.isclass(cls) and self.fits(cls)}

    def fits(self, cls: type) -> bool:
        """Whether a class has the required arguments and methods."""
        takes = inspect.signature(cls).parameters
        return self.arguments <= takes.keys() and all(hasattr(cls, name) for name in self.methods)


# The keys are the names of the arguments that hold the parts' configs.
ROLES = {
    "recognizer": Role(frozenset({"backbone", "head", "reconstructor"}), frozenset({"loss"})),
    "backbone": Role(
        frozenset({"embedding_size", "image_size", "in_channels"}), frozenset({"forward"})
    ),
    "head": Role(frozenset({"num_classes", "in_channels"}), frozenset({"loss"})),
    "proxies": Role(frozenset({"num_classes", "in_channels"}), frozenset({"target"})),
    "reconstructor": Role(
        frozenset({"image_size"}),
        frozenset({"loss", "view_of", "rendered", "seen_depth", "turned"}),
    ),
    "trainer": Role(frozenset({"reconstructor"}), frozenset({"reconstruction_loss"})),
    "renderer": Role(frozenset({"image_size"}), frozenset({"render", "warp_depth"})),
    "data_preprocessor": Role(methods=frozenset({"cast_data"})),
    "pipeline": Role(registry=TRANSFORMS),
    "optimizer": Role(frozenset({"params", "lr"}), frozenset({"step"}), OPTIMIZERS),
}


def build(role: str, config: Any, where: str, **given: Any) -> Any:
    """Build a part of a model from a config in a data file.

    Args:
        role: A key of :data:`ROLES`.
        config: ``type``, the name of a registered class, and its arguments.
        where: The file or key that holds the config, for messages.
        **given: Further arguments, which the config must not have.

    Raises:
        ValueError: If :func:`check` raises it, or the class rejects the arguments.
    """
    check(role, config, where, given)
    try:
        return ROLES[role].registry.build({**config, **given})
    except Exception as error:
        reason = first_line(error)
        raise ValueError(f"{where}: {config['type']} cannot be built: {reason}") from error


def check(role: str, config: Any, where: str, given: Collection[str] = ()) -> None:
    """Check a config in a data file, and the configs inside it, against the classes they name.

    Args:
        role: A key of :data:`ROLES`.
        config: ``type``, the name of a registered class, and its arguments.
        where: The file or key that holds the config, for messages.
        given: Names of arguments that are added later; the config must not have them.

    Raises:
        ValueError: If a key is unknown or missing, or a value is not allowed. The message names the
            key, what was found and what is allowed.
    """
    if not isinstance(config, Mapping) or "type" not in config:
        raise ValueError(f"{where}.type: missing; it names a registered class")
    parameters = _check_config(ROLES[role], config, where, given)
    required = {name for name, one in parameters.items() if one.default is one.empty}
    if missing := sorted(required - config.keys()):
        raise ValueError(f"{where}.{missing[0]}: missing; {config['type']} needs it")


def _check_config(
    role: Role, config: Mapping[str, Any], where: str, given: Collection[str]
) -> dict[str, inspect.Parameter]:
    """Check a config with a ``type``, and return the parameters that it may set."""
    name, allowed = config["type"], role.classes()
    if not isinstance(name, str) or name not in allowed:
        raise ValueError(
            f"{where}.type: found {name!r:.100}, which is no registered class of this kind; "
            f"allowed are {', '.join(allowed)}, and your own with `lh2face --import MODULE`"
        )
    return check_arguments(allowed[name], config, where, given)


def check_arguments(
    called: Callable[..., Any], config: Mapping[str, Any], where: str, given: Collection[str] = ()
) -> dict[str, inspect.Parameter]:
    """Check the arguments in a config by the names and types that a class or function declares.

    Args:
        called: The class or function.
        config: Arguments by name; the key ``type`` is ignored.
        where: The file or key that holds the config, for messages.
        given: Names of arguments that are added later; the config must not have them.

    Returns:
        The parameters that the config may set, by name.

    Raises:
        ValueError: If a key is unknown, or a value has another type. The message names the key,
            what was found and what is allowed.
    """
    every = inspect.signature(called).parameters.values()
    parameters = {
        one.name: one
        for one in every
        if one.name not in given and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    takes_any = any(one.kind is one.VAR_KEYWORD for one in every)
    hints = _type_hints(called.__init__ if inspect.isclass(called) else called)
    for key, value in config.items():
        if key == "type":
            continue
        if key not in parameters and (key in given or not takes_any):
            # repr escapes line breaks, so that the message is one line.
            shown = repr(str(key))[1:-1]
            raise ValueError(
                f"{where}.{shown:.100}: unknown; {called.__name__} allows {sorted(parameters)}"
            )
        hint = hints.get(key, Any)
        if not _matches(value, hint):
            expected = hint.__name__ if isinstance(hint, type) else hint
            raise ValueError(f"{where}.{key}: expected {expected}, found {value!r:.100}")
        _check_inside(key, value, f"{where}.{key}", given)
    return parameters


def _check_inside(key: str, value: Any, where: str, given: Collection[str]) -> None:
    """Check every config inside the value of an argument, at any depth."""
    if key == "_scope_":
        raise ValueError(f"{where}: not allowed, because mmengine would import what it names")
    if isinstance(value, Mapping) and "type" in value:
        if key not in ROLES:
            raise ValueError(
                f"{where}: found a config with a type; only {sorted(ROLES)} may be configs"
            )
        _check_config(ROLES[key], value, where, given)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _check_inside(name, item, f"{where}.{name}", given)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_inside(key, item, f"{where}.{number}", given)


def _type_hints(called: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the arguments by name; none if they cannot be resolved."""
    try:
        return get_type_hints(called)
    except (AttributeError, NameError, TypeError):
        return {}


def _matches(value: Any, hint: Any) -> bool:
    """Whether a value of JSON or YAML has a type; an int is also a float, a bool is neither."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_matches(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is tuple and Ellipsis not in inner:
        return (
            isinstance(value, list | tuple)
            and len(value) == len(inner)
            and all(map(_matches, value, inner))
        )
    if hint is float:
        return (
            isinstance(value, int | float)
            and type(value) is not bool
            and abs(value) <= sys.float_info.max
        )
    if hint is int:
        return isinstance(value, int) and type(value) is not bool
    # A type that no data file can hold, such as a Tensor, matches no value.
    plain = NoneType if hint is None else origin or hint
    return plain is Any or not isinstance(plain, type) or isinstance(value, plain)
