"""The `vox2face` command. Subcommands are imported when they are called."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from importlib import import_module
from typing import Any

import click

from vox2face.cli.program import program
from vox2face.core import progress
from vox2face.core.errors import ParityError, Vox2FaceError, one_line, show_warning
from vox2face.core.version import __version__

INTERRUPTED = 128 + signal.SIGINT  # what a shell says of a program that Ctrl-C ended
COMMANDS = (
    "check compare convert data demo embed evaluate export face2face fetch nearest push "
    "speech2face train zoo"
)


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only when it is needed.

    `names` are its subcommands; each is the `command` of the module of its name in `package`.
    """

    def __init__(self, *args: Any, package: str, names: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package, self.names = package, names.split()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        return self.names

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand."""
        if cmd_name not in self.names:
            return None
        command: click.Command = import_module(f"{self.package}.{cmd_name}").command
        return command


class Main(LazyGroup):
    """The whole command: where errors become messages."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program, which this process is for."""
        with program():
            return super().__call__(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand; every expected failure becomes one line and an exit code."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = show_warning
                return super().invoke(ctx)
        except Vox2FaceError as error:
            if isinstance(error, ParityError):
                from vox2face.cli.report import print_report

                print_report(error.report)
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except OSError as error:
            fail(f"{error.filename or 'The system'}: {error.strerror or error}.", 1)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if (end := ended(error)) is not None:
                raise end from error
            if os.environ.get("VOX2FACE_DEBUG"):
                raise
            fail(
                f"Something unforeseen happened ({type(error).__name__}: {error}). Please report "
                "it; VOX2FACE_DEBUG=1 shows where.",
                1,
            )


def ended(error: BaseException | None) -> SystemExit | None:
    """Return the signal behind an error, as where one came while a package was imported."""
    while error is not None:
        if isinstance(error, SystemExit):
            return error
        if isinstance(error, KeyboardInterrupt):
            return SystemExit(INTERRUPTED)
        error = error.__cause__ or error.__context__
    return None


def fail(message: str, code: int) -> None:
    """Print an error as one line and exit."""
    progress.close()
    click.echo(f"Error: {one_line(message)}", err=True)
    sys.exit(code)


@click.group(
    cls=Main,
    package="vox2face.cli",
    names=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, "--version", message="vox2face %(version)s")
def main() -> None:
    """Convert, prove, load and run the networks of speech-to-face research.

    Start with `vox2face speech2face me.wav`, `vox2face demo`, or `vox2face convert serengil`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be Unicode
            stream.reconfigure(errors="backslashreplace")
