"""Failures: whatever goes wrong becomes one sentence and an exit code, never a traceback."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from waypost_server.cli.errors import AnswerLostError, CommandError

REFUSED = 1
NOT_UNDERSTOOD = 2
INTERRUPTED = 130

#: Typer brings its own click and does not export the root of its errors.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run_safely(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    from waypost_server.cli.commands import waypost

    try:
        answer = typer.main.get_command(waypost).main(list(arguments), prog_name="waypost", standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        return _not_understood(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_what_cannot_be_written()
        return REFUSED
    except Exception as error:  # noqa: BLE001 - nobody is to see a traceback who has not asked for one
        if os.environ.get("WAYPOST_DEBUG") == "1":
            traceback.print_exc()
        _give_up_what_cannot_be_written()
        try:
            sentence = _sentence(error)
        except Exception:  # noqa: BLE001 - what broke may be our own installation
            sentence = _unexpected(error)
        _say(sentence)
        return REFUSED
    return answer if isinstance(answer, int) else 0


def _give_up_what_cannot_be_written() -> None:
    """Otherwise Python tries once more at the very end, and answers 120 in our place."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _not_understood(error: Exception) -> int:
    message = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(message)  # nothing where rich has printed the help already
    else:
        hint = f" See `{context.command_path} --help`." if context is not None else ""
        _say(message + ("" if message.endswith((".", "?", "!")) else ".") + hint)
    return NOT_UNDERSTOOD


def _sentence(error: Exception) -> str:
    from pydantic import ValidationError
    from waypost.host.wrappers import WrapperUnusableError
    from waypost.operations import OperationError
    from waypost.store.database import StoreUnavailableError
    from waypost.store.migrate import SchemaMismatchError
    from waypost.vault import VaultError

    from waypost_server.serve import ServeError

    if isinstance(
        error, AnswerLostError | CommandError | OperationError | ServeError | VaultError | SchemaMismatchError
    ):
        return str(error)
    if isinstance(error, WrapperUnusableError):
        return f"{error}: {error.__doc__}"
    if isinstance(error, OSError) and (told := _told_by_the_system(error)):
        return told
    if isinstance(error, StoreUnavailableError):
        return f"The database cannot be used just now: {error}; look at it, and at WAYPOST_DATABASE_URL."
    if isinstance(error, ValidationError):
        return _configuration(error)
    return _unexpected(error)


def _told_by_the_system(error: OSError) -> str | None:
    if error.filename is not None:
        mend = "give it to the user who runs this" if isinstance(error, PermissionError) else "look at that path"
        return f"{error.filename} cannot be used ({error.strerror}); {mend}."
    if error.errno == errno.ENOSPC:
        return "There is no space left where the answer goes; make some, and look what was done."
    return None


def _unexpected(error: Exception) -> str:
    return f"Something unexpected failed ({type(error).__name__}); set WAYPOST_DEBUG=1 to see where, and report it."


def _configuration(error: Exception) -> str:
    from pydantic import ValidationError

    assert isinstance(error, ValidationError)
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else "configuration"
    if first["type"] == "extra_forbidden":
        return f"waypost.toml holds {field}, which is no setting; correct its name, or leave it out."
    told = str(first["msg"]).removeprefix("Value error, ")
    return f"The configuration is wrong at WAYPOST_{field.upper()} (or {field} in waypost.toml): {told}."


def _say(sentence: str) -> None:
    sentence = " ".join(sentence.split())
    sys.stderr.write((sentence.removesuffix(".") if sentence.endswith("..") else sentence) + "\n")
