"""Errors for people: each names what was found, what was expected, and the way out."""


class PerfnbError(ValueError):
    """Any problem that the user can solve; the message says how."""


class MissingTable(PerfnbError):
    """A table that the analysis needs is not in the workspace."""


class MissingColumns(PerfnbError):
    """A table lacks columns that the analysis needs."""


class UnreadableData(PerfnbError):
    """A file, table or column cannot be read as what it should be."""


class TooMuchLost(PerfnbError):
    """Checks found errors, or more rows were lost than the budget allows."""


class BadParameter(PerfnbError):
    """A parameter is unknown, or its value does not fit."""
