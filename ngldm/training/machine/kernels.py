"""The kernels of a training are in force while it computes, and not while its caller has a report."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from typing import TypeVar

Report = TypeVar("Report")


def between_reports(
    reports: Generator[Report, None, None], settings: Callable[[], AbstractContextManager[object]]
) -> Iterator[Report]:
    """The same reports. What `settings` makes is entered where they are computed, and left before each is given out.

    So also a training that is given up, or ends with an error, leaves nothing behind.
    """
    with closing(reports):
        while True:
            with settings():
                try:
                    report = next(reports)
                except StopIteration:
                    return
            yield report
