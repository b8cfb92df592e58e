"""``trainwright ckpt``: look at checkpoints, check, compare, convert, publish and average them."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="ckpt",
    help="Show, verify, compare, convert, publish and average checkpoints. What is read is never changed.",
    no_args_is_help=True,
)

_KINDS = "A checkpoint: .pth, .safetensors, .pkl, a step folder, or a folder of torch.distributed.checkpoint."
Checkpoint = Annotated[str, typer.Argument(metavar="CKPT", help=_KINDS)]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-checkpoint", help="Let the file run code, where it holds objects. Only for a maker you trust."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")]
Output = Annotated[str, typer.Option("--output", "-o", metavar="OUT", help="Where to write.")]


@app.command()
def inspect(ckpt: Checkpoint, as_json: AsJson = False, trust_checkpoint: Trust = False) -> None:
    """Show what CKPT is: its maker, step, metrics, versions, number of weights, types, and the size of each part."""
    from trainwright.cli.ckpt_show import inspect_checkpoint

    inspect_checkpoint(ckpt, as_json, trust_checkpoint)


@app.command()
def verify(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help=f"{_KINDS} Or the folder of a run.")],
    as_json: AsJson = False,
    trust_checkpoint: Trust = False,
) -> None:
    """Read every byte of the checkpoints and compare the checksums. Exit code 1 when one is damaged."""
    from trainwright.cli.ckpt_show import verify_checkpoints

    raise typer.Exit(verify_checkpoints(paths, as_json, trust_checkpoint))


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_KINDS)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Compare this part only, as in state_dict.")] = None,
    as_json: AsJson = False,
    trust_checkpoint: Trust = False,
) -> None:
    """Compare two checkpoints bit by bit and name the first state that differs. Exit code 0: equal, 1: different, 2:
    one cannot be read."""
    from trainwright.cli.ckpt_show import diff_checkpoints

    raise typer.Exit(diff_checkpoints(a, b, key, as_json, trust_checkpoint))


@app.command()
def convert(
    ckpt: Checkpoint,
    output: Output,
    to: Annotated[
        str | None,
        typer.Option(metavar="LAYOUT", help="pth, safetensors (weights only) or folder; else by the suffix."),
    ] = None,
    force: Force = False,
    trust_checkpoint: Trust = False,
) -> None:
    """Write CKPT in another layout. What comes out holds tensors and plain data only, wherever it came from."""
    from trainwright.cli.ckpt_write import convert_checkpoint

    convert_checkpoint(ckpt, output, to, force, trust_checkpoint)


@app.command()
def publish(
    ckpt: Checkpoint,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="KEY", help="A part to keep; may be given again. By default meta and state_dict."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="OUT", help="The name that the checksum is put in; by default CKPT's."),
    ] = None,
    trust_checkpoint: Trust = False,
) -> None:
    """Write the parts of CKPT that are needed to use the model as NAME-<sha256>.pth, for torch.hub to check."""
    from trainwright.cli.ckpt_write import publish_checkpoint

    publish_checkpoint(ckpt, keys or ["meta", "state_dict"], output, trust_checkpoint)


@app.command()
def average(
    paths: Annotated[list[str], typer.Argument(metavar="CKPT...", help="The checkpoints of one model.")],
    output: Output,
    weight: Annotated[
        list[float] | None, typer.Option(metavar="X", help="Weight of a checkpoint, once each, in order; else equal.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The part to average, as in ema_state_dict; by default the weights."),
    ] = None,
    force: Force = False,
    trust_checkpoint: Trust = False,
) -> None:
    """Write the mean of the weights of several checkpoints. Counters are those of the last one."""
    from trainwright.cli.ckpt_write import average_checkpoints

    average_checkpoints(paths, output, (weight, key), force, trust_checkpoint)
