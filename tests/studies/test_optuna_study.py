"""Result lines as an optuna study: values, ranges and importance; what is refused."""

import fake_lines
import pytest

from jaxcmh.studies.optuna_study import to_optuna

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")


def swept():
    return [
        fake_lines.line(seed=seed, lift=0.1 * alpha, params={"alpha": alpha, "beta": beta})
        for alpha in (0.1, 1.0, 2.0)
        for beta in (1.0, 10.0)
        for seed in range(2)
    ]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_trials_are_the_lines_and_what_matters_comes_first(tmp_path):
    lines = swept()
    storage = f"sqlite:///{tmp_path}/sweep.db"
    to_optuna(lines, storage=storage)
    study = optuna.load_study(study_name="jaxcmh", storage=storage)
    assert [trial.params for trial in study.trials] == [line["params"] for line in lines]
    assert study.best_value == pytest.approx(max(sum(line["map"].values()) / 2 for line in lines))
    assert study.best_trial.params["alpha"] == 2.0
    assert study.trials[3].user_attrs["key"] == lines[3]["key"]
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    assert next(iter(optuna.importance.get_param_importances(study, evaluator=evaluator))) == "alpha"


def test_what_makes_no_study_is_refused():
    with pytest.raises(ValueError, match="lines: expected at least one"):
        to_optuna([])
    with pytest.raises(ValueError, match="lines: expected one database; got encoded, learned"):
        to_optuna([fake_lines.line(), fake_lines.line(database="encoded")])
    with pytest.raises(ValueError, match="nothing varies in them but seeds"):
        to_optuna([fake_lines.line(seed=seed) for seed in range(2)])
