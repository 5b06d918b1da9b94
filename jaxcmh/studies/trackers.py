"""Result lines as runs of an experiment tracker: TensorBoard, MLflow or Weights & Biases, only where one is asked for.

    log = logger("tensorboard", "surface")
    log(line)                                   # one run of the tracker for each line

A run has the hyper-parameters and settings of its line (`config`), mAP and times (`scores`), and the objective after
every iteration. The libraries are imported by the first line that is logged.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxcmh import results
from jaxcmh.checks import PathLike, checked
from jaxcmh.extras import require

__all__ = ["logger"]

Line = Mapping[str, Any]
# What the extra named as the tracker installs, by import names.
NEEDED = {"tensorboard": ("tensorboardX",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
PROJECT = "jaxcmh"  # experiment of MLflow, project of Weights & Biases
OBJECTIVE = "objective"


@checked
def logger(tracker: str, folder: PathLike) -> Callable[[Line], None]:
    """A function that makes a result line a finished run of a tracker.

    Args:
        tracker: "tensorboard" writes event files to FOLDER/tensorboard; "mlflow" a database FOLDER/mlflow.db, or
            what $MLFLOW_TRACKING_URI names; "wandb" files to FOLDER/wandb, and sends them unless $WANDB_MODE is
            "offline".
        folder: for what is written; made when the first line is logged.
    Raises:
        ModuleNotFoundError: naming the extra that installs the tracker.
        ValueError: no such tracker.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = logger("tensorboard", folder)
        ...     outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        ...     log(outcome.records[0])
        ...     len(list(Path(folder, "tensorboard").iterdir()))
        1
    """
    if tracker not in NEEDED:
        raise ValueError(f"log: expected one of {', '.join(NEEDED)}; got {tracker!r}")
    require(tracker, *NEEDED[tracker])
    log = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}[tracker]
    return lambda line: log(line, Path(folder).resolve())


def config(line: Line) -> dict[str, float | str]:
    """What was asked for: a line's configuration, protocol, hyper-parameters and conditions of the data.

    >>> line = {"method": "dcgh", "bits": 32, "at": None, "params": {"lam": 0.1}, "setting": {"rows": 500}}
    >>> config(line)
    {'method': 'dcgh', 'bits': 32, 'lam': 0.1, 'rows': 500}
    """
    names = dict.fromkeys(("method", "bits", "seed", *results.CONFIGURATION, *results.PROTOCOL))
    settings = {name: line[name] for name in names if line.get(name) is not None and name != "params"}
    settings |= {**line["params"], **line.get("setting", {})}
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in settings.items()}


def scores(line: Line) -> dict[str, float]:
    """What came out: mAP of every direction, and seconds.

    >>> scores({"map": {"i2t": 0.5}, "times": {"fit": 1.5}})
    {'mAP/i2t': 0.5, 'seconds/fit': 1.5}
    """
    maps = {f"mAP/{direction.replace('->', '-')}": float(value) for direction, value in line["map"].items()}
    return maps | {f"seconds/{name}": float(value) for name, value in line["times"].items()}


def _objective(line: Line) -> list[tuple[int, float]]:
    """(iteration, objective) pairs, from the start on."""
    return list(zip(*results.trace(line))) if line.get(OBJECTIVE) else []


def _name(line: Line) -> str:
    parts = line["method"], f"{line['bits']} bits", f"seed {line['seed']}", line["database"], line["key"]
    return "-".join(parts).replace(" ", "-")


def _tensorboard(line: Line, folder: Path) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    measured = scores(line)
    with SummaryWriter(str(folder / "tensorboard" / _name(line))) as writer:
        events: Any = writer.file_writer
        for summary in hparams(config(line), measured):  # the columns of the tab "HPARAMS"
            events.add_summary(summary)
        for step, value in _objective(line):
            writer.add_scalar(OBJECTIVE, value, step)
        for name, value in measured.items():
            writer.add_scalar(name, value, line["max_iterations"])


def _mlflow(line: Line, folder: Path) -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from mlflow.utils.time import get_current_time_millis

    folder.mkdir(parents=True, exist_ok=True)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    client = MlflowClient(uri or f"sqlite:///{folder / 'mlflow.db'}")
    known = client.get_experiment_by_name(PROJECT)
    place = None if uri else (folder / "mlflow").as_uri()
    experiment = known.experiment_id if known else client.create_experiment(PROJECT, place)
    now = get_current_time_millis()
    metrics = [Metric(name, value, now, line["max_iterations"]) for name, value in scores(line).items()]
    metrics += [Metric(OBJECTIVE, value, now, step) for step, value in _objective(line)]
    run = client.create_run(experiment, run_name=_name(line)).info.run_id
    client.log_batch(run, metrics, [Param(name, str(value)) for name, value in config(line).items()])
    client.set_terminated(run)


def _wandb(line: Line, folder: Path) -> None:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(console="off", silent=True)
    with wandb.init(project=PROJECT, name=_name(line), dir=folder, config=config(line), settings=settings) as run:
        for step, value in _objective(line):
            run.log({OBJECTIVE: value}, step=step)
        run.summary.update(scores(line))
