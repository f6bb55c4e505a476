"""Which of the 28 tests of the ML Test Score this repository says it does, and what must be there for it to be true.

Honest by rule: a claim without evidence counts nothing, and what is not done has no claim. Titles are the source's.
"""

from __future__ import annotations

from greenlight.core.ml_test_score import Claim, Evidence, How, Item


def _claim(how: How, words: str, *evidence: str, lacks: str = "") -> Claim:
    """A claim; evidence as ``kind what``."""
    return Claim(how, words, tuple(Evidence(*one.split(" ", 1)) for one in evidence), lacks)


DATA = (
    (
        "Feature expectations are captured in a schema",
        _claim(
            "automatic",
            "every run checks its snapshot against the contract before anything is trained",
            "stage validate",
            "expectations 60",
            "test tests/datasets/test_flight_delay_contract.py::test_what_is_wrong_in_the_newest_month_is_refused",
        ),
    ),
    (
        "All features are beneficial",
        _claim(
            "manual",
            "features were compared and what did not help was left out, with the figures in the source",
            "text greenlight/datasets/flight_delay/history.py::did not raise the mean ROC AUC",
            lacks="no run drops a feature and trains again; the report shows shares of gain only",
        ),
    ),
    (
        "No feature's cost is too much",
        _claim(
            "in part",
            "every release measures latency and memory of all features together against budgets",
            "test tests/operations/test_release.py::test_preflight_names_every_budget_that_is_broken",
            lacks="the cost of a single feature",
        ),
    ),
    (
        "Features adhere to meta-level requirements",
        _claim(
            "automatic",
            "a gate refuses features that are known only afterwards, and a test holds the built ones against the list",
            "gate known_after",
            "test tests/datasets/test_features.py::test_nothing_known_only_after_departure_reaches_the_model",
        ),
        _claim(
            "automatic",
            "a test holds the built features against the list of what is known only after departure",
            "test tests/datasets/test_features.py::test_nothing_known_only_after_departure_reaches_the_model",
        ),
    ),
    ("The data pipeline has appropriate privacy controls",),
    (
        "New features can be added quickly",
        _claim(
            "manual",
            "one function offline and online; the README says which file to change",
            "text README.md::| a feature | `features.py` there",
            lacks="no test adds one from end to end",
        ),
    ),
    (
        "All input feature code is tested",
        _claim(
            "automatic",
            "row by row against whole months, bit for bit, and each number against its name",
            "test tests/datasets/test_features.py::test_one_row_gives_the_bits_that_a_month_gives",
            "test tests/datasets/test_features.py::test_the_numbers_are_what_their_names_say",
        ),
    ),
)
MODEL = (
    (
        "Model specs are reviewed and submitted",
        _claim(
            "in part",
            "all parameters lie in Git, and a run executes nothing but its own commit",
            "file params.yaml",
            "test tests/operations/test_reproduce.py::test_a_rejected_run_of_an_uncommitted_checkout_comes_back",
            lacks="nothing enforces a review",
        ),
    ),
    (
        "Offline and online metrics correlate",
        _claim(
            "manual",
            "a replay sets what the gates chose on the holdout against what it did live in the month after",
            "command replay",
            "text docs/replay.md::both on the next month's rows",
            lacks="on recorded history only, and on demand",
        ),
    ),
    ("All hyperparameters have been tuned",),
    (
        "The impact of model staleness is known",
        _claim(
            "manual",
            "a replay of never retraining beside retraining, month by month, with intervals",
            "command replay",
            "text docs/replay.md::never retrain",
            lacks="on demand",
        ),
    ),
    (
        "A simpler model is not better",
        _claim(
            "in part",
            "every candidate must beat the base rate's probabilities and any single feature's ranking",
            "gate max_log_loss",
            "gate single_feature",
            lacks="no linear or much smaller model is trained beside it",
        ),
    ),
    (
        "Model quality is sufficient on important data slices",
        _claim(
            "automatic",
            "every large enough declared slice has a floor and is compared with the champion's",
            "gate slices_floor",
            "gate slices_champion",
        ),
    ),
    (
        "The model is tested for considerations of inclusion",
        _claim(
            "in part",
            "a gate compares protected groups where the dataset declares some; of flights it declares none",
            "gate fairness",
            lacks="data on people to show it on",
        ),
    ),
)
INFRASTRUCTURE = (
    (
        "Training is reproducible",
        _claim(
            "automatic",
            "the same bytes whatever the threads, and every recorded run again from a clean clone",
            "test tests/core/test_training.py::test_the_model_is_the_same_bytes_whatever_the_threads",
            "test tests/operations/test_reproduce.py::test_a_promoted_run_comes_back_*",
        ),
    ),
    (
        "Model specs are unit tested",
        _claim(
            "automatic",
            "early stopping, seeds, one class, refused and unknown parameters",
            "test tests/core/test_training.py::test_training_stops_early_and_keeps_the_best_iteration",
            "test tests/core/test_training.py::test_a_parameter_that_xgboost_only_warns_of_is_refused",
        ),
    ),
    (
        "The ML pipeline is integration tested",
        _claim(
            "automatic",
            "from a clean clone to a live service and back",
            "test tests/test_end_to_end.py::test_from_a_clean_clone_to_a_live_service_and_back",
        ),
    ),
    (
        "Model quality is validated before serving",
        _claim(
            "automatic",
            "gates before a version exists; injected faults show that they say no",
            "stage gate",
            "gate champion_roc_auc",
            "test tests/proof/test_selftest.py::test_every_fault_is_caught_by_the_right_check",
            "test tests/operations/test_release.py::test_an_altered_or_unsigned_version_never_serves",
        ),
    ),
    (
        "The model is debuggable by observing step by step on a single example",
        _claim(
            "in part",
            "one kept prediction back to its row, its features as the model got them, and its score once more",
            "command trace",
            "test tests/operations/test_kept_predictions.py::test_trace_goes_back_to_run_and_features",
            lacks="a person asks for it, prediction by prediction",
        ),
    ),
    (
        "Models are canaried before serving",
        _claim(
            "in part",
            "a release can take growing shares of the traffic, and goes back by itself",
            "test tests/operations/test_rollout_drive.py::test_a_candidate_that_fails_is_rolled_back_*",
            "text docs/release.md::canary",
            lacks="params.yaml asks for all traffic at once",
        ),
    ),
    (
        "Serving models can be rolled back",
        _claim(
            "automatic",
            "to the version before or any other, tested with and without a stack that is whole",
            "test tests/operations/test_release.py::test_from_nothing_to_two_versions_and_back_*",
            "command rollback",
        ),
    ),
)
MONITORING = (
    (
        "Dependency changes result in notification",
        _claim(
            "in part",
            "another shape of the source's tables ends a run red; libraries change only with the lock, which CI checks",
            "stage validate",
            "text Makefile::tools/lock.sh --check",
            lacks="nobody is told of what upstream announces",
        ),
    ),
    (
        "Data invariants hold in training and serving inputs",
        _claim(
            "in part",
            "training: the contract; serving: each request's types and ranges, wrong ones refused by field",
            "stage validate",
            "test tests/bentos/test_api.py::test_wrong_value_is_named_with_row_field_and_value",
            lacks="no alert on the distribution of what is served",
        ),
    ),
    (
        "Training and serving features compute the same values",
        _claim(
            "automatic",
            "before every release the built service must answer golden rows exactly as offline",
            "test tests/operations/test_release.py::test_bento_that_answers_otherwise_than_its_model_never_serves",
            "test tests/bentos/test_api.py::test_golden_rows_get_exactly_the_offline_scores",
        ),
    ),
    (
        "Models are not too stale",
        _claim(
            "in part",
            "a schedule retrains every month",
            "text prefect.yaml::cron:",
            lacks="no alarm when the champion grows old",
        ),
    ),
    (
        "The model is numerically stable",
        _claim(
            "automatic",
            "a probability that is no number fails every gate; a served one is refused, counted, and an alert",
            "gate answers",
            "test tests/bentos/test_service_metrics.py::test_what_is_no_probability_is_never_handed_out",
            "text deploy/prometheus/alerts.yml::greenlight_answers_total",
        ),
        _claim(
            "in part",
            "a probability that is no number fails every gate; requests with such numbers are refused",
            "test tests/bentos/test_api.py::test_numbers_that_are_none_are_refused",
            "test tests/core/test_metrics.py::*nan*",
            lacks="no watch on what is served",
        ),
    ),
    (
        "Training speed, serving latency, throughput and memory have not regressed",
        _claim(
            "in part",
            "every release measures start, latency and memory against budgets",
            "test tests/operations/test_release.py::test_preflight_names_every_budget_that_is_broken",
            lacks="seconds of training are recorded and not compared",
        ),
    ),
    ("Prediction quality has not regressed on served data",),
)
ITEMS = tuple(
    Item(section, number, title, tuple(claims))  # type: ignore[arg-type]
    for section, tests in (
        ("data", DATA),
        ("model", MODEL),
        ("infrastructure", INFRASTRUCTURE),
        ("monitoring", MONITORING),
    )
    for number, (title, *claims) in enumerate(tests, 1)
)
"""All 28, in the order of the source."""
