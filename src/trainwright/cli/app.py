"""The commands and their options."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace
from typing import Annotated

import typer

from trainwright.base.errors import Interrupted, TrainwrightError
from trainwright.base.logs import env_rank
from trainwright.cli.arguments import normalised
from trainwright.cli.ckpt import Trust
from trainwright.cli.ckpt import app as ckpt_app
from trainwright.cli.config import app as config_app
from trainwright.cli.launching import Launching, follow_the_launcher, left_to_launcher

app = typer.Typer(
    name="trainwright",
    help="Train, test and resume PyTorch models from a config.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(config_app)
app.add_typer(ckpt_app)

ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="A .py, .yaml or .json config.")]
WorkDir = Annotated[
    str | None, typer.Option(help="Folder of checkpoints and logs (work_dirs/ and the name of the config).")
]
CfgOptions = Annotated[
    list[str] | None,
    typer.Option("--cfg-options", metavar="K=V ...", help="Override settings, as in optim_wrapper.optimizer.lr=0.01."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
Launcher = Annotated[
    str | None,
    typer.Option(help="How the processes are started: none, pytorch, slurm, mpi or ray; torchrun is found by itself."),
]
NProc = Annotated[
    str | None,
    typer.Option("--nproc", metavar="N", help="Start N processes on this node; gpu: one a GPU. Needs --launcher."),
]
NNodes = Annotated[
    str | None,
    typer.Option("--nnodes", metavar="N", help="How many nodes (1), or MIN:MAX. Start the command on each of them."),
]
NodeRank = Annotated[
    int | None,
    typer.Option("--node-rank", help="0: the nodes meet on this one, others: not here. Only if it is not found out."),
]
RdzvEndpoint = Annotated[
    str | None,
    typer.Option("--rdzv-endpoint", metavar="HOST:PORT", help="Where several nodes meet: on one of them."),
]
MaxRestarts = Annotated[
    int | None,
    typer.Option(
        "--max-restarts",
        metavar="N",
        help="Start the processes again up to N times when one fails, from the newest checkpoint.",
    ),
]


@app.command()
def train(
    config: ConfigPath,
    work_dir: WorkDir = None,
    resume: Annotated[
        str | None, typer.Option(metavar="[PATH]", help="Go on from PATH, or from the latest checkpoint.")
    ] = None,
    amp: Annotated[bool, typer.Option("--amp", help="Train with automatic mixed precision.")] = False,
    auto_scale_lr: Annotated[
        bool, typer.Option("--auto-scale-lr", help="Scale the learning rate to the real batch size.")
    ] = False,
    profile_hooks: Annotated[
        bool, typer.Option("--profile-hooks", help="Measure what each hook costs, and show it in the log at the end.")
    ] = False,
    fast_dev_run: Annotated[
        int | None,
        typer.Option(
            "--fast-dev-run", metavar="[N]", help="Try every part on N batches (1); nothing is saved or kept."
        ),
    ] = None,
    trust_checkpoint: Trust = False,
    launcher: Launcher = None,
    nproc: NProc = None,
    nnodes: NNodes = None,
    node_rank: NodeRank = None,
    rdzv_endpoint: RdzvEndpoint = None,
    max_restarts: MaxRestarts = None,
    cfg_options: CfgOptions = None,
) -> None:
    """Train what CONFIG describes. Ctrl-C stops after the running iteration, saves, and says how to resume.

    So does SIGTERM, with exit code 75 and a file WORK_DIR/.requeue: start it again with --resume.
    """
    from trainwright.cli.train import TrainOptions, train_config
    from trainwright.dist import launcher_or_found

    launching = Launching(nproc, nnodes, node_rank, rdzv_endpoint, max_restarts)
    try:
        launcher = launcher_or_found(launcher)
        options = TrainOptions(config, work_dir, resume, amp, auto_scale_lr, launcher, cfg_options or [])
        options = replace(options, profile_hooks=profile_hooks, fast_dev_run=fast_dev_run, trusted=trust_checkpoint)
        code = train_config(options, launching)
    except Interrupted as stop:  # caught here: typer ends every KeyboardInterrupt itself, and says nothing
        if env_rank() == 0:
            typer.echo(str(stop), err=True)
        raise typer.Exit(stop.exit_code) from None
    raise typer.Exit(code)


@app.command("test")
def run_test(
    config: ConfigPath,
    checkpoint: Annotated[str, typer.Argument(help="The checkpoint to test.")],
    work_dir: WorkDir = None,
    trust_checkpoint: Trust = False,
    launcher: Launcher = None,
    nproc: NProc = None,
    nnodes: NNodes = None,
    node_rank: NodeRank = None,
    rdzv_endpoint: RdzvEndpoint = None,
    cfg_options: CfgOptions = None,
) -> None:
    """Test the weights of CHECKPOINT with the test part of CONFIG and print the metrics."""
    from trainwright.cli.test import test_checkpoint
    from trainwright.dist import launcher_or_found

    overrides = [*(cfg_options or []), *["trust_checkpoint=True"] * trust_checkpoint]
    launching = Launching(nproc, nnodes, node_rank, rdzv_endpoint)
    raise typer.Exit(test_checkpoint(config, checkpoint, work_dir, launcher_or_found(launcher), overrides, launching))


@app.command("plot-schedule")
def draw_schedule(
    config: ConfigPath,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT.png", help="Write the picture there.")
    ] = None,
    as_json: AsJson = False,
    epoch_length: Annotated[
        int | None,
        typer.Option(metavar="N", help="Iterations an epoch, so that no dataset need be built to count them."),
    ] = None,
    cfg_options: CfgOptions = None,
) -> None:
    """Show every learning rate and momentum that training CONFIG would have. Nothing is trained, no data is read."""
    from trainwright.cli.plot_schedule import plot_schedule

    plot_schedule(config, output, as_json, epoch_length, cfg_options or [])


@app.command("find-lr")
def lr_finder(
    config: ConfigPath,
    start: Annotated[float, typer.Option(help="The first learning rate.")] = 1e-7,
    end: Annotated[float, typer.Option(help="The last one; the test ends before it when the loss runs away.")] = 10.0,
    iters: Annotated[int, typer.Option(help="Steps of the optimizer from the first to the last.")] = 100,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT.png", help="Write the picture there.")
    ] = None,
    as_json: AsJson = False,
    cfg_options: CfgOptions = None,
) -> None:
    """Raise the learning rate step by step, watch the loss, suggest a rate. Nothing but the picture is written."""
    from trainwright.cli.find_lr import find_learning_rate

    find_learning_rate(config, (start, end, iters), output, as_json, cfg_options or [])


@app.command()
def replay(
    step_dir: Annotated[
        str, typer.Argument(metavar="STEP_DIR", help="A recorded step, as the guard leaves in work_dir/bad_steps.")
    ],
    cfg_options: CfgOptions = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose/--no-diagnose", help="Look for the first module that gives out NaN or infinity.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Take one recorded training step again and look at it. Exit code 0: reproduced bit for bit, 1: not."""
    from trainwright.cli.replay import replay_recorded

    raise typer.Exit(replay_recorded(step_dir, cfg_options or [], diagnose, as_json))


@app.command("verify-resume")
def verify(
    config: ConfigPath,
    iters: Annotated[int, typer.Option(help="How many iterations to train.")] = 10,
    at: Annotated[int | None, typer.Option(help="After how many to stop and resume (half of them).")] = None,
    workers: Annotated[
        list[int] | None, typer.Option("--workers", metavar="N", help="Try with so many loader workers; repeatable.")
    ] = None,
    as_json: AsJson = False,
    cfg_options: CfgOptions = None,
) -> None:
    """Train CONFIG in one go and in two parts, in a temporary folder, and compare all. Exit code 0: equal, 1: not."""
    from trainwright.cli.verify_resume import verify_config

    raise typer.Exit(verify_config(config, iters, at, workers or [], cfg_options or [], as_json))


@app.command("dry-run")
def try_dry(
    config: ConfigPath,
    world_size: Annotated[int, typer.Option(metavar="N", help="How many ranks there would be.")] = 1,
    strategy: Annotated[
        str | None, typer.Option(help="single, ddp, fsdp, hsdp, tp or a class, in place of the config's.")
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHAPE", help="As in inputs=3x224x224 or label=:int64; no data is read then. Repeatable."
        ),
    ] = None,
    as_json: AsJson = False,
    cfg_options: CfgOptions = None,
) -> None:
    """Memory, checkpoint size and messages of a training step of CONFIG on N ranks, found out on one CPU."""
    from trainwright.cli.dry_run import run_dry

    raise typer.Exit(run_dry(config, world_size, strategy, input_shape or [], as_json, cfg_options or []))


@app.command("sync")
def sync_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A work folder (its newest run), or one log folder.")],
    to: Annotated[str, typer.Option("--to", metavar="TRACKER", help="wandb, mlflow, tensorboard, ...")],
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="K=V", help="An argument of the writer, as in init_kwargs.project=digits."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay the scalars, config and pictures of RUN into a tracker. Run again it sends what is new."""
    from trainwright.cli.sync import sync

    sync(run, to, option or [], as_json)


@app.command()
def doctor() -> None:
    """Report versions, devices, limits and optional packages, and what to mend."""
    from trainwright.cli.doctor import report

    typer.echo(report())


def run() -> None:
    """Run the command line; a user's mistake is one message and exit code 1, an interrupt is 130.

    With TRAINWRIGHT_TRACEBACK=1 the traceback is shown too. A rank that was started by ``--launcher`` says one line,
    and the process that started it shows the rest.
    """
    follow_the_launcher()
    try:
        app(normalised(sys.argv[1:]), standalone_mode=True)
    except Exception as error:
        if left_to_launcher(error):
            sys.exit(1)
        if not isinstance(error, TrainwrightError):
            raise
        if os.environ.get("TRAINWRIGHT_TRACEBACK") == "1":
            traceback.print_exc()
        notes = getattr(error, "__notes__", [])
        typer.secho("\n".join([f"error: {error}", *notes]), err=True, fg="red")
        sys.exit(1)
