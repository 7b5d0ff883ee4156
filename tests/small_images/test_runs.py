from facever.small_images.runs import CellRun

RUN = CellRun(
    seed=0,
    error=0.0081,
    top5_error=0.0002,
    train_error=0.0,
    w_inter=1.5,
    c_inter=1.6,
    wc_intra=0.25,
    steps=10,
    steps_of_this_run=4,
    seconds_of_this_run=1.5,
    num_weights=7,
    verified=True,
    device="cpu",
    recipe={},
    fingerprint="f",
    curve=[],
)


def test_a_run_for_people_and_for_json() -> None:
    assert str(RUN) == "seed 0: error 0.81 %"
    assert CellRun(**RUN.to_dict()) == RUN
