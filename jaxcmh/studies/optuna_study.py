"""Sweeps as optuna studies, for its plots and its importance of hyper-parameters."""

import statistics
from typing import Any

from jaxcmh.checks import checked
from jaxcmh.results.lines import Lines


@checked
def to_optuna(lines: Lines, *, storage: str | None = None, name: str = "jaxcmh") -> Any:
    """An optuna study with one trial per result line; its value is the mAP, mean over the directions.

    Args:
        lines: result lines of one method and one kind of database codes, such as `studies.run` returns.
        storage: such as "sqlite:///sweep.db", where a study of this name must not exist yet; in memory if None.
        name: of the study.

    Returns:
        An `optuna.Study` that maximises; `optuna.importance.get_param_importances` ranks what varied.

    Raises:
        ValueError: no lines, lines of several methods or kinds of database codes, or nothing varies in them.
        ModuleNotFoundError: optuna is not installed (the extra `optuna`).

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import Study, run
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> study = Study("weights", "sensitivity", "dcgh", bits=(8,), seeds=1, vary={"alpha": [1, 10]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lines = run(study, split, f"{folder}/weights.jsonl", data="synthetic", databases=["learned"])
        >>> [trial.params["alpha"] for trial in to_optuna(lines).trials]
        [1.0, 10.0]
    """
    lines = list(lines)
    for field in ("method", "database", "data_hash"):
        values = sorted({line[field] for line in lines})
        if len(values) != 1:
            raise ValueError(f"lines: expected one {field}; got {', '.join(values) or 'no lines'}")
    values = {key: [line["params"][key] for line in lines] for key in lines[0]["params"]}
    values |= {"bits": [line["bits"] for line in lines]}
    varied = {key: column for key, column in values.items() if len(set(column)) > 1}
    if not varied:
        raise ValueError("lines: nothing varies in them but seeds")
    try:
        import optuna
    except ModuleNotFoundError:
        raise ModuleNotFoundError("optuna is not installed: pip install 'jaxcmh[optuna]'") from None

    ranges = {}
    for key, column in varied.items():
        low, high = min(column), max(column)
        if key == "bits":
            ranges[key] = optuna.distributions.IntDistribution(int(low), int(high))
        else:
            ranges[key] = optuna.distributions.FloatDistribution(low, high, log=low > 0)
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    except Exception as error:  # of the database's own kinds
        raise ValueError(f"storage: {storage} cannot take the study {name} ({error})") from None
    for number, line in enumerate(lines):
        trial = optuna.trial.create_trial(
            params={key: column[number] for key, column in varied.items()},
            distributions=ranges,
            value=statistics.fmean(line["map"].values()),
            user_attrs={"seed": line["seed"], "key": line["key"], **line["map"]},
        )
        study.add_trial(trial)
    return study
