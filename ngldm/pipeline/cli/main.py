"""The console script `ngldm`: tools for people. DVC runs the stages; `python -m stages.<stage>` runs one."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ngldm import __version__
from ngldm.io.errors import InputError
from ngldm.pipeline.cli import catalogue, compare, fid, generate, noises, schedules, search, theorem1, track
from ngldm.pipeline.cli.exchange import export, importing
from ngldm.pipeline.cli.health import doctor
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.dataset.source import relative_note, require_source
from ngldm.pipeline.config.params import PARAMS_FILE, Params, describe, load_params
from ngldm.pipeline.terminal import quietable, run


class Tools(TyperGroup):
    """The commands. If the name of a stage is given, the error message says how to run a stage."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and Path("stages", f"{name}.py").is_file():
            raise InputError(f"{name} is a stage, not a tool: `dvc repro {name}`, or `python -m stages.{name} --help`")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="ngldm",
    cls=Tools,
    help="Non-Gaussian latent diffusion models: tools. `dvc repro` runs the pipeline.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def params(
    compose: Annotated[
        bool, typer.Option("--compose", help="First write params.yaml again from conf/, as `dvc exp run` does.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-S", help="With --compose: a Hydra override, for example -S recipe=smoke -S noise=laplace."
        ),
    ] = None,
) -> None:
    """Check params.yaml and show all params with their meaning."""
    from ngldm.pipeline.config.networks import check_networks, check_pretrained
    from ngldm.pipeline.config.noises import check_noises

    if overrides and not compose:
        raise InputError("--set: only together with --compose, which writes params.yaml again")

    def check(params: Params) -> None:
        check_networks(params)
        check_pretrained(params)
        check_noises(params)
        require_source(params.dataset.source)

    if compose:
        compose_params(PARAMS_FILE, overrides or [], check)
    check(resolved := load_params())
    for line in describe(resolved):
        print(line)
    note = relative_note(resolved.dataset.source) if resolved.dataset.name == "image_folder" else None
    if note:
        print(note)


app.add_typer(noises.app, name="noise")
app.add_typer(schedules.app, name="schedule")
app.add_typer(catalogue.app, name="list")
app.add_typer(search.app, name="search")
app.add_typer(track.app, name="track")
app.command(name="compare")(compare.compare)
app.command(name="doctor")(doctor.doctor)
app.command(name="generate")(quietable(generate.generate))
app.command(name="export")(export.export)
app.command(name="import")(importing.import_)
app.command(name="fid")(fid.fid)
app.command(name="theorem1")(theorem1.theorem1)


def main() -> None:
    run(app)
