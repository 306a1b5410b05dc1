"""The `nas` command in processes of their own.

Importing torch takes seconds, a command often milliseconds. One process therefore imports the
pipeline once and forks for every command: `nas.cli.main` runs in a real child, with its own
arguments, streams, folder and exit code.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = """
import json, os, pathlib, signal, sys, time, traceback
import nas.pipeline, nas.cli
from hardware_profiles.profile_device import WindowLog
from nas.append_log import AppendLog


def waiting(write, name, count):
    # the command then waits for the signal, which comes late where the machine is busy
    def written(log, *record):
        write(log, *record)
        while str(log.path) == name and log.path.read_bytes().count(b"\\n") >= count:
            time.sleep(60)

    return written


def wait_for_lines(name, count, child):
    # tells whether the child lived to see so many lines in the file
    path = pathlib.Path(name)
    while not path.exists() or path.read_bytes().count(b"\\n") < count:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(0.002)
    return True


for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        for number in (0, 1, 2):
            name = os.devnull if number == 0 else order["streams"][number - 1]
            opened = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
            os.dup2(opened, number)
        os.chdir(order["folder"])
        os.environ.update(order["environment"])
        # a shell's background jobs ignore Ctrl-C, and so would this child of one
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["nas", *order["arguments"]]
        if order["stop_at"]:
            AppendLog.append = waiting(AppendLog.append, *order["stop_at"])
            WindowLog.add = waiting(WindowLog.add, *order["stop_at"])
        try:
            nas.cli.main()
            code = 0
        except SystemExit as stop:  # as the interpreter does it
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if order["stop_at"] and wait_for_lines(*order["stop_at"], child):
        os.kill(child, order["signal"])
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@dataclass(frozen=True)
class Answer:
    """What one command said and how it ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The object on stdout; an error where there is anything else."""
        return json.loads(self.stdout)

    def assert_refused(self, *words: str, code: int = 2, after_work: bool = False) -> None:
        """Ended with `code` and one or two lines that hold `words`, without a traceback.

        Stages that were done before it have their lines above (`after_work`).
        """
        assert "Traceback" not in self.stderr, self.stderr
        assert self.code == code, self
        lines = self.stderr.strip().splitlines()
        assert lines
        assert after_work or len(lines) <= 2, self.stderr
        assert lines[-1].startswith("nas: ")
        for word in words:
            assert word in lines[-1]


class CommandLine:
    """Runs `nas ARGUMENTS`; close it at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def __call__(
        self,
        *arguments: object,
        folder: Path | None = None,
        profiles: Path | None = None,
        stop_at: tuple[Path, int] | None = None,
        signal_number: int = signal.SIGINT,
    ) -> Answer:
        """Run one command in `folder` (an empty one without) and wait for its end.

        Args:
            profiles: folder of the known profiles.
            stop_at: a file of records; the command is stopped as soon as it has so many lines.
            signal_number: by which; as Ctrl-C does it without.
        """
        self._count += 1
        where = self._folder / f"command{self._count}"
        where.mkdir()
        streams = [where.with_suffix(ending) for ending in (".out", ".err")]
        order = {
            "arguments": [str(argument) for argument in arguments],
            "streams": [str(stream) for stream in streams],
            "folder": str(folder or where),
            "environment": {} if profiles is None else {"NAS_PROFILES": str(profiles)},
            "stop_at": stop_at and (str(stop_at[0]), stop_at[1]),
            "signal": int(signal_number),
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return Answer(code, *(stream.read_text() for stream in streams))

    def close(self) -> None:
        """End the process that forks."""
        self._server.communicate()


def nas_script() -> str:
    """The installed console script."""
    return str(Path(sys.executable).with_name("nas"))


def python(
    code: str, *arguments: object, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh interpreter."""
    command: Sequence[str] = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        timeout=120,
        check=False,
    )
