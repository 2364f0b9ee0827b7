"""Questions and answers between the benchmark and a process that it keeps warm: JSON, one object a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

BENCHMARKS = Path(__file__).resolve().parents[1]


class PeerFailed(Exception):
    """A process that is measured could not be set up, ended, or could not do what it was asked; says why."""


class Child:
    """A warm process, seen from the benchmark.

    Args:
        command: its command line.
        log: file for all that it prints.
        environment: of the process.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, env=dict(environment)
            )

    def ask(self, **question: Any) -> Answer:
        """Ask and wait for the answer.

        Raises:
            PeerFailed: it ended, or says that it failed.
        """
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None and receiving is not None
        try:
            sending.write(json.dumps(question).encode() + b"\n")
            sending.flush()
            line = receiving.readline()
        except OSError:
            line = b""
        if not line:
            raise PeerFailed(f"its process ended (status {self._process.wait()}); what it said is in {self._log}")
        answer = dict(json.loads(line))
        if "failed" in answer:
            raise PeerFailed(f"{answer['failed']} (more in {self._log})")
        return answer

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def answer_all(answer: Callable[[Answer], Answer]) -> None:
    """In the warm process: answer until nobody asks any more. What libraries print goes to the log."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin.buffer:
        try:
            said = answer(json.loads(line))
        except Exception as error:  # whatever went wrong is told to the benchmark
            traceback.print_exc()
            said = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(said).encode() + b"\n")
        answers.flush()
