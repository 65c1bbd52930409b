"""The vox2face command with narrow networks, for tests of whole processes.

With --serve it runs one command after the other: each line of its input is a JSON list of arguments
and environment variables, each line of its output one of exit code, output and errors. So the
packages are imported once.
"""

from __future__ import annotations

import json
import sys
from functools import partial

from click.testing import CliRunner

from helpers.twins import narrow
from vox2face.cli import main
from vox2face.zoo import registry


def serve() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        arguments, environment = json.loads(line)
        done = CliRunner().invoke(main, arguments, env=environment)
        print(json.dumps([done.exit_code, done.stdout, done.stderr]), flush=True)


if __name__ == "__main__":
    registry.entry = partial(narrow, find=registry.entry)  # type: ignore[assignment]
    serve() if sys.argv[1:] == ["--serve"] else main()
