"""A model as a folder that diffusers loads, and that folder as a repository on a hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ngldm.interop.diffusers.card import NOT_STATED, Scores, model_card
from ngldm.interop.diffusers.pipeline import Pipeline
from ngldm.io.errors import InputError
from ngldm.io.files import atomic_directory
from ngldm.model import Model


def export(model: Model, folder: Path, title: str, scores: Scores | None = None, licence: str = NOT_STATED) -> None:
    """Write the pipeline of a model, with its best known sampler, and a model card. It appears whole or not at all.

    Args:
        folder: new, or empty.
        title: the model's name on the card.
        scores: see `ngldm.interop.diffusers.card.model_card`.
        licence: of the weights.

    Raises:
        InputError: `folder` is not new or empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder")
    pipeline = Pipeline.of(model)
    with atomic_directory(folder) as temporary:
        pipeline.save_pretrained(temporary)
        (temporary / "README.md").write_text(model_card(pipeline, title, scores or {}, licence))


def push(folder: Path, repository: str) -> str:
    """Upload a pipeline's folder to a repository on the hub, which is made if there is none.

    Args:
        repository: "owner/name". The login is huggingface_hub's own (`hf auth login`).

    Returns:
        The repository's address.

    Raises:
        InputError: no login, no such owner, no network.
    """
    api = HfApi()
    try:
        made = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(f"{repository}: cannot be written on the hub ({error})") from error
    return str(made)
