"""``trainwright config``: look at configs, check, compare and convert them. Nothing is built."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="config",
    help="Show, check, compare and convert configs. Nothing is built.",
    no_args_is_help=True,
)

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="A .py, .yaml or .json config.")]
CfgOptions = Annotated[
    list[str] | None,
    typer.Option("--cfg-options", metavar="K=V ...", help="Override settings, as in optim_wrapper.optimizer.lr=0.01."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
_COMPARABLE = "A config, or the folder of a run: its newest dumped config."


@app.command()
def show(
    config: ConfigFile,
    origin: Annotated[bool, typer.Option("--origin", help="Say behind each line what set it.")] = False,
    cfg_options: CfgOptions = None,
    as_json: AsJson = False,
    untrusted: Annotated[bool, typer.Option("--untrusted", help="Read it without running anything of it.")] = False,
) -> None:
    """Write CONFIG with its bases and overrides resolved. The text is itself a config of equal content."""
    from trainwright.cli.config_show import show_config

    show_config(config, origin, cfg_options or [], as_json, trusted=not untrusted)


@app.command()
def validate(config: ConfigFile, cfg_options: CfgOptions = None, as_json: AsJson = False) -> None:
    """Check everything about CONFIG that can be known before anything is built. Exit code 1 when there is an error."""
    from trainwright.cli.config_validate import validate_config

    raise typer.Exit(validate_config(config, cfg_options or [], as_json))


@app.command("diff")
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=_COMPARABLE)],
    b: Annotated[str, typer.Argument(metavar="B", help=_COMPARABLE)],
    as_json: AsJson = False,
) -> None:
    """Compare two configs by meaning. Exit code 0: equal, 1: different, 2: one cannot be read."""
    from trainwright.cli.config_diff import diff_configs

    raise typer.Exit(diff_configs(a, b, as_json))


@app.command()
def tree(config: ConfigFile, as_json: AsJson = False) -> None:
    """Draw the chain of bases that CONFIG is made of."""
    from trainwright.cli.config_tree import show_tree

    show_tree(config, as_json)


@app.command("migrate")
def convert(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A config written for MMCV 1.x.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="NEW.py", help="Write there, not to standard output.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the MMCV 1.x config OLD with today's keys, and say what could not be carried over exactly, and why."""
    from trainwright.cli.config_migrate import migrate_config

    migrate_config(old, output, as_json)
