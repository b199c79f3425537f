"""The model card: the README.md of a pipeline's folder, with the header that hubs read."""

from collections.abc import Mapping

from huggingface_hub import EvalResult, ModelCardData

from ngldm.diffusion.classes import Classes
from ngldm.interop.diffusers.pipeline import Pipeline
from ngldm.noise import Law, noise_factory

Scores = Mapping[str, Mapping[str, object]]  # sampler: name of a score: value
NOT_STATED = "unknown"  # the hub's word for it
PROGRAM = """```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)
images = pipeline(batch_size=4, seed=0{asked}).images
```"""


def model_card(pipeline: Pipeline, title: str, scores: Scores, licence: str = NOT_STATED) -> str:
    """The card's text.

    Args:
        title: of the card, and the model's name in the header.
        scores: as the stage `evaluate` writes them; only numbers are shown.
        licence: of the weights, as the hub spells it, such as "apache-2.0".
    """
    config, law = pipeline.scheduler.config, pipeline.scheduler.diffusion.noise
    model = pipeline.model.model
    data = str(model.config.get("dataset", "not stated"))
    shape = " x ".join(str(size) for size in model.item_shape)
    numbers = {sampler: _numbers(found) for sampler, found in scores.items()}
    header = ModelCardData(
        license=licence,
        library_name="diffusers",
        tags=["ngldm", "non-gaussian-noise", law.name],
        model_name=title,
        eval_results=_results(data, numbers) or None,
    )
    kind = "Points" if len(model.item_shape) == 1 else "Images"
    parts = [
        f"---\n{header.to_yaml()}\n---",
        f"# {title}",
        f"{kind} of the data set `{data}`, from a diffusion model of ngldm with the noise `{law.name}`.",
        PROGRAM.format(folder=title, asked=_asked(model.classes)),
        "It needs `pip install ngldm[diffusers]`: the files of code here import it.",
        f"## Data\n\n`{data}`: {shape} (channels, height, width; of points their dimension).",
        *([] if model.classes is None else [f"## Classes\n\n{_names(model.classes)}"]),
        f"## Noise law\n\n{_about(law)}",
        f"## Diffusion\n\n- schedule: `{dict(config.schedule)}`, T = {config.num_train_timesteps}\n"
        f"- prediction: `{config.prediction_type}`\n- sampler: `{config.method}` {dict(config.sampling or {})}",
        f"## Scores\n\n{_table(numbers)}",
        f"## Licence\n\n{'Not stated: ask who trained it.' if licence == NOT_STATED else licence}",
    ]
    return "\n\n".join(parts) + "\n"


def _asked(classes: Classes | None) -> str:
    """Arguments of the program that ask for a class, and guide where the model can."""
    if classes is None:
        return ""
    return f", classes={classes.names[0]!r}" + (", guidance_scale=1.5" if classes.label_dropout else "")


def _names(classes: Classes) -> str:
    """The names, by which a class is asked for, with their numbers."""
    return ", ".join(f"`{name}` ({number})" for number, name in enumerate(classes.names))


def _numbers(found: Mapping[str, object]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _results(data: str, scores: Mapping[str, Mapping[str, float]]) -> list[EvalResult]:
    """The scores in the header's form."""
    task = "unconditional-image-generation"
    return [
        EvalResult(task, data, data, metric_type=name, metric_value=value, metric_name=f"{name} ({sampler})")
        for sampler, found in scores.items()
        for name, value in found.items()
    ]


def _about(law: Law) -> str:
    """The law's name and parameters, and what is known of it."""
    doc = (noise_factory(law.name).__doc__ or "").strip().split("\n")[0]
    params = f" with {dict(law.params)}" if law.params else ""
    return (
        f"`{law.name}`{params}. {doc}\n\nIts mean is {law.mean:g} and its mean square {law.second_moment:g}. "
        "Training added noise of this law, and x_T must be drawn from it too. This pipeline does so; diffusers' own "
        "pipelines draw Gaussian noise."
    )


def _table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each score, a column for each sampler."""
    if not scores:
        return "None were given."
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    lines = [f"| score | {' | '.join(scores)} |", f"| --- |{' --- |' * len(scores)}"]
    for name in names:
        cells = (f"{found[name]:.4g}" if name in found else "" for found in scores.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
