from dataclasses import replace

from facever.small_images.tables import (
    TABLE_COLUMNS,
    CellResults,
    CellRun,
    markdown,
    spread,
    table_rows,
)

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


def test_rows_by_hand() -> None:
    runs = [RUN, replace(RUN, error=0.0085, top5_error=0.0)]
    rows = table_rows(
        [
            CellResults("softmax", 0.86, None, runs),
            CellResults("IE", None, 8.19, [RUN]),
        ]
    )
    assert rows[0] == [
        "softmax",
        "2",
        "0.86",
        "0.83 ± 0.03",
        "-0.03",
        "0.01 ± 0.01",
        "1.500 ± 0.000",
        "1.600 ± 0.000",
        "0.250 ± 0.000",
    ]
    assert rows[1][:6] == ["IE", "1", "", "0.81", "", "0.02 (paper 8.19)"]
    assert all(len(row) == len(TABLE_COLUMNS) for row in rows)
    assert markdown([CellResults("IE", 0.5, None, [RUN])]).count("\n") == 3


def test_a_run_for_people_and_for_json() -> None:
    assert str(RUN) == "seed 0: error 0.81 %"
    assert CellRun(**RUN.to_dict()) == RUN


def test_spread_is_the_deviation_of_a_sample() -> None:
    assert spread([1.0, 2.0, 3.0], 2) == "2.00 ± 1.00"
    assert spread([1.234], 2) == "1.23"
