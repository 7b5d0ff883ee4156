from facever.small_images.tables import HEAD, CellResults, markdown, spread, table_rows

RUN = {
    "error": 0.0081,
    "top5_error": 0.0002,
    "w_inter": 1.5,
    "c_inter": 1.6,
    "wc_intra": 0.25,
}


def test_rows_by_hand() -> None:
    runs = [RUN, RUN | {"error": 0.0085, "top5_error": 0.0}]
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
    assert all(len(row) == len(HEAD) for row in rows)
    assert markdown([CellResults("IE", 0.5, None, [RUN])]).count("\n") == 3


def test_spread_is_the_deviation_of_a_sample() -> None:
    assert spread([1.0, 2.0, 3.0], 2) == "2.00 ± 1.00"
    assert spread([1.234], 2) == "1.23"
