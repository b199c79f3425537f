"""YAML of a person or of another program, read so that no text can end or block the process."""

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from ngldm.io.errors import InputError
from ngldm.io.limits import MAX_NESTED, MAX_TEXT, require_shallow


def read_yaml(text: bytes | str, source: str) -> object:
    """The content of a YAML text.

    The events are counted before the content is made of them: the library makes it by recursion in C, in which ten
    thousand nested lists end the process without a message.

    Args:
        source: what the text is, for messages.

    Raises:
        InputError: it is not YAML, too large, or nested too deeply.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"{source}: {len(text)} bytes, above {MAX_TEXT}")
    depth = 0
    try:
        for event in YAML(typ="safe").parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_NESTED:
                raise InputError(f"{source}: more than {MAX_NESTED} lists or mappings inside each other")
        content: object = YAML(typ="safe").load(text)  # DVC writes YAML 1.2; PyYAML would read its 1e-05 as a string
    except (YAMLError, UnicodeError, ValueError, TypeError, OverflowError) as error:  # as a date that no calendar has
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    require_shallow(source, content)
    return content
