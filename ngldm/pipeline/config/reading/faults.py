"""What pydantic found wrong in params.yaml, as a line with key, value and what is allowed."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ngldm.io.errors import shown

Model = TypeVar("Model", bound=BaseModel)
# What pydantic adds to the place of a fault: the type that it has tried, and that a key is meant and not its value.
_ALTERNATIVE = re.compile(r"constrained-\w+|literal\[.*\]|\[key\]")


def composed(section: type[Model], base: BaseModel, own: dict[str, Any], key: str) -> Model:
    """A section with some of its keys replaced.

    Args:
        section: its type. Keys of `base` that it does not have are left out.
        base: the values of the keys that are not replaced.
        own: what replaces them.
        key: of `own` in params.yaml, for the message.

    Raises:
        ValueError: a key or value that is not allowed.
    """
    known = base.model_dump(include=set(section.model_fields))
    try:
        return section.model_validate({**known, **own})
    except ValidationError as error:
        raise ValueError(f"{key}.{describe_fault(error.errors()[0], section)}") from None


def describe_fault(fault: Any, model: type[BaseModel]) -> str:
    """A line for one of the errors of a `ValidationError` of this model."""
    path = ".".join(str(part) for part in fault["loc"] if not _ALTERNATIVE.fullmatch(str(part)))
    kind, value = fault["type"], fault["input"]
    message = fault["msg"].removeprefix("Value error, ")
    if kind == "value_error":  # from our own checks, which name the key and the value themselves
        own = f"{path}." if path and not message.startswith((f"{path}.", f"unknown {path}.")) else ""
        return own + message
    if kind == "extra_forbidden":
        return f"{path}: unknown key; {_siblings(fault['loc'], model)}"
    if kind == "missing":
        return f"{path}: missing"
    return f"{path}: {shown(value)} is not allowed: {message[0].lower()}{message[1:]}"


def _siblings(loc: tuple[Any, ...], model: Any) -> str:
    for part in loc[:-1]:
        annotation = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
        if annotation is None:  # the part is a label in a mapping such as sampler_options
            continue
        inside = getattr(annotation, "__args__", ())
        options = [a for a in inside if isinstance(a, type) and issubclass(a, BaseModel)]
        model = options[0] if options else annotation
    return f"known here: {', '.join(getattr(model, 'model_fields', {}))}"
