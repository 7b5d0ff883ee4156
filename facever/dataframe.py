"""Lists of results as a pandas DataFrame, where pandas is installed."""

from collections.abc import Iterable
from typing import Any

from facever.errors import ParameterError
from facever.results import plain


def to_dataframe(results: Iterable[Any]) -> Any:
    """A row for each result: faces, photos, verifications or matches.

    Args:
        results: What facever gave, such as ``embedder.faces(photo)``. Of a list of
            lists, as a gallery's ``search`` gives for several queries, each inner list
            gets its place in the column ``query``.

    Returns:
        A ``pandas.DataFrame`` whose columns are the keys of the results' ``to_dict``;
        boxes, landmarks and embeddings are lists in its cells.

    Raises:
        ParameterError: If pandas is not installed: facever does not bring it.
    """
    try:
        import pandas
    except ModuleNotFoundError:
        raise ParameterError(
            "to_dataframe needs pandas, which is not installed: pip install pandas; "
            "without it, to_dict of each result gives plain values"
        ) from None
    rows = []
    for query, result in enumerate(results):
        if isinstance(result, list):
            rows += [{"query": query, **plain(member)} for member in result]
        else:
            rows.append(plain(result))
    return pandas.DataFrame(rows)
