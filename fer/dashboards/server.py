"""Connect to W&B's server. If it is slow, refuses or is down, training neither waits for it nor fails."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from fer.errors import InputError
from fer.home import hidden_in_arguments

CHECK_SECONDS: Final = 4
"""Seconds within which the server must accept the key before a run starts online."""

START_SECONDS: Final = 4
"""Seconds within which the server must then start the run."""

END_SECONDS: Final = 20
"""Seconds that uploads may take at the end of a run."""

PATIENCE: Final = 5
"""Seconds beyond :data:`END_SECONDS` after which W&B's service process is killed."""

log = logging.getLogger("fer.dashboards")


def check_login() -> tuple[bool, str]:
    """Return whether W&B has a key, and why the server did not accept it (empty if it did). Never prompts."""
    import wandb

    wandb.setup()  # reads the environment before the limit below is set, which is only for the login
    started = time.monotonic()
    with _environment("WANDB_HTTP_TIMEOUT", str(CHECK_SECONDS)):
        try:
            return bool(wandb.login(prompt=False)), ""
        except (wandb.Error, OSError) as e:
            is_silent = time.monotonic() - started >= CHECK_SECONDS
            return True, f"no answer within {CHECK_SECONDS} s" if is_silent else _one_line(e)


def is_logged_in() -> bool:
    """Return whether W&B's server accepts the stored key; never prompts, never raises."""
    has_key, problem = check_login()
    if problem:
        log.info("W&B is offline: %s", problem)
    return has_key and not problem


def start_run(mode: str, problem: str = "", **settings: Any) -> Any:
    """Return a new W&B run, which is offline if the server cannot be reached or refuses it.

    Args:
        mode: W&B's mode.
        problem: A known problem with the server; empty: none.
        **settings: Arguments of ``wandb.init``; the one called ``settings`` is a dict.

    Raises:
        InputError: W&B has no key, or a setting is wrong.
    """
    import wandb

    # By default W&B stores the command line, the interpreter and the repository's address, which may contain
    # a token.
    private = {"program": "fer", "x_executable": "python", "git_remote": ""}
    limits = {"init_timeout": START_SECONDS, "finish_timeout": END_SECONDS, "finish_timeout_raises": True}
    given = settings.pop("settings") | limits | private
    if not problem:
        # The client prints a lot. Of an offline run, only the folder matters, which `fer` prints at the end.
        given["silent"] = mode == "offline"
        try:
            return _init(mode, given, settings)
        except wandb.errors.UsageError as e:
            way_out = "log in with `wandb login`, or use --wandb.mode offline"
            msg = f"W&B cannot start a run ({_one_line(e)}): {way_out}"
            raise InputError(msg) from e
        except wandb.Error as e:
            problem = _one_line(e)
    run = _init("offline", given | {"silent": True}, settings)
    folder = _shown(Path(run.dir).parent)
    log.warning("W&B cannot start a run online (%s): it is recorded offline, in %s", problem, folder)
    return run


def _init(mode: str, given: Mapping[str, Any], others: Mapping[str, Any]) -> Any:
    import wandb

    with hidden_in_arguments():
        return wandb.init(mode=mode, settings=wandb.Settings(**given), **others)  # type: ignore[arg-type]


def finish(*, failed: bool = False, is_preempted: bool = False) -> None:
    """Close the process's W&B run, if there is one, within :data:`END_SECONDS`.

    If the server did not receive everything, the command that uploads it later is printed.

    Args:
        failed: Whether W&B shows the run as failed.
        is_preempted: Whether W&B shows it as preempted instead, to be resumed later.
    """
    if "wandb" not in sys.modules:  # there is no run, and importing wandb would take a second
        return
    import wandb
    from wandb.sdk.mailbox import HandleAbandonedError

    run = wandb.run
    if run is None:
        return
    folder, is_online = Path(run.dir).parent, not run.offline
    watchdog = threading.Timer(END_SECONDS + PATIENCE, _kill_service)
    watchdog.daemon = True
    watchdog.start()
    try:
        if is_preempted:
            run.mark_preempting()
        run.finish(exit_code=1 if failed else 0)
        is_complete = not is_online or not _has_given_up(folder)
    except (TimeoutError, wandb.Error) as e:
        log.debug("W&B: %s", _one_line(e))
        is_complete = False
    except (OSError, HandleAbandonedError) as e:
        log.debug("W&B's service process is gone: %s", _one_line(e))
        is_complete = False
        with suppress(
            OSError, HandleAbandonedError, SystemExit
        ):  # otherwise it is reported when Python exits
            wandb.teardown()
    finally:
        watchdog.cancel()
    if not is_complete:
        # Without the option, W&B 0.31 skips a run that began online.
        command = f"wandb sync --include-online {_shown(folder)}"
        log.warning("W&B did not receive all of the run; upload it later: %s", command)


def _has_given_up(folder: Path) -> bool:
    """Return whether W&B's service stopped uploading a run, which is only reported in its log."""
    path = folder / "logs" / "debug-internal.log"
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return any('"level":"ERROR+4"' in line for line in lines)


def _kill_service() -> None:
    """Kill W&B's service process, since the client would wait for it indefinitely."""
    import wandb

    service = wandb.setup()._connection
    if service is not None and service._proc is not None:
        service._proc._process.kill()


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable within a context, unless it is already set."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _shown(folder: Path) -> str:
    """Return a folder's path, relative to the working directory if it is below it."""
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _one_line(error: Exception) -> str:
    """Return an error's message in one line, without W&B's advice on its own settings."""
    return " ".join(str(error).split("\nConsider increasing")[0].split()).rstrip(".")
