import inspect
import re

from facever import errors


def test_the_tree_in_the_docstring_is_that_of_the_classes() -> None:
    """Each class stands below its base, one step further to the right."""
    above: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+Error)\b", line)
        if match is None:
            continue
        depth = len(match.group(1)) // 4
        above = [*above[:depth], match.group(2)]
        drawn[match.group(2)] = above[-2] if depth else "Exception"
    classes = {
        name: kind.__bases__[0].__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    }
    assert drawn == classes
