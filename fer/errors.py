"""The one exception that is the user's to mend."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a row, an option.

    The message names it and says the way out. The command line prints the message alone,
    without a traceback, and exits with status 2.
    """
