"""Processes that solve problems: how many, for how long, and what happens when one is lost.

The service itself loads no numerics and never parses a problem: a worker is a process of its own
that is handed the bytes. It can be killed at any moment, which is how work is ended when its
caller went away or its time is up; its memory goes with it.
`python -m services.matching.pool` is a worker.
"""

import asyncio
import ctypes
import itertools
import os
import queue
import signal
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType, TracebackType
from typing import IO, TYPE_CHECKING, Any, Self
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from services.matching.settings import MatchingSettings
from shared.errors import DomainError, InvalidError, LimitedError, UnavailableError, Violation

if TYPE_CHECKING:
    from shared.schemas.base import Wire
    from shared.schemas.matching import Problem, Timings

HEADER = struct.Struct(">cI")
PROGRESS_SECONDS = 0.25
PR_SET_PDEATHSIG = 1
WHOLE_CELLS = 16_000_000
"""Circles, schedules and draws hold all pairs at once, solutions do not; so theirs are fewer."""
# One thread each: sums are taken in one order, and workers do not crowd each other out. The first
# three are read by what stands below NumPy, the last by what takes texts apart; Numba uses one.
WORKER_ENVIRONMENT = MappingProxyType(
    dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
    )
)
# Where programs are, and where Numba keeps machine code if not beside the source.
HANDED_ON = ("PATH", "NUMBA_CACHE_DIR")


class Operation(StrEnum):
    """What a worker can be asked."""

    SOLUTIONS = "solutions"
    SCORES = "scores"
    EXPLANATIONS = "explanations"
    POLICY_CHECKS = "policy-checks"
    EMBEDDINGS = "embeddings"
    CIRCLES = "circles"
    SCHEDULES = "schedules"
    DRAWS = "draws"


class Kind(StrEnum):
    """What a worker says: a whole message begins with one of these letters."""

    ACCEPTED = "A"
    PROGRESS = "P"
    RESULT = "R"
    INVALID = "I"
    MALFORMED = "M"
    FAULT = "F"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a worker, its content in JSON."""

    kind: Kind
    content: bytes


class Place:
    """A place among the problems that are taken on; left once."""

    def __init__(self, pool: "Pool") -> None:
        """Take one of the pool's places."""
        self._pool = pool
        self._organization: UUID | None = None

    def belong_to(self, organization_id: UUID) -> None:
        """Count against an organization's share; above it this is a `LimitedError`."""
        self._pool.count(organization_id)
        self._organization = organization_id

    def __enter__(self) -> Self:
        """Hold the place."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it."""
        self._pool.leave(self._organization)


class Pool:
    """Takes on a bounded number of problems; starts workers when needed, retires idle ones."""

    def __init__(self, settings: MatchingSettings) -> None:
        """Start with no worker at all."""
        self._settings = settings
        self._taken = 0
        self._of_organization: Counter[UUID] = Counter()
        self._turn = asyncio.Semaphore(settings.matching_workers)
        self._idle: list[Worker] = []
        self._live: set[Worker] = set()

    @property
    def pids(self) -> list[int]:
        """The processes of all workers."""
        return [worker.pid for worker in self._live]

    def admit(self) -> Place:
        """Return a place, or refuse at once when all are taken."""
        if self._taken >= self._settings.matching_workers + self._settings.matching_queue:
            raise UnavailableError(
                "As many problems as possible are being solved; try again shortly.",
                headers={"Retry-After": "5"},
            )
        self._taken += 1
        return Place(self)

    def count(self, organization_id: UUID) -> None:
        """Count a problem of an organization, unless it has its share already."""
        if self._of_organization[organization_id] >= self._settings.matching_organization_share:
            raise LimitedError(
                "This organization has as many problems here as it may have at once.",
                headers={"Retry-After": "5"},
            )
        self._of_organization[organization_id] += 1

    def leave(self, organization_id: UUID | None) -> None:
        """Give a place back."""
        self._taken -= 1
        if organization_id is not None:
            self._of_organization[organization_id] -= 1
            if not self._of_organization[organization_id]:
                del self._of_organization[organization_id]

    async def run(self, operation: Operation, body: bytes) -> AsyncGenerator[Message]:
        """Yield what a worker says until its last word; closing this ends the work at once."""
        try:
            async with asyncio.timeout(self._settings.matching_deadline_seconds) as deadline:
                async with self._turn, aclosing(self._work(operation, body)) as messages:
                    async for message in messages:
                        if message.kind is Kind.ACCEPTED:
                            _tighten(deadline, from_json(message.content)["time_s"])
                        yield message
        except TimeoutError:
            raise UnavailableError(
                "The problem was not solved in the time it may take.",
                code="deadline_exceeded",
                headers={"Retry-After": "60"},
            ) from None

    async def _work(self, operation: Operation, body: bytes) -> AsyncGenerator[Message]:
        worker = await self._worker()
        is_finished = False
        try:
            async with aclosing(worker.run(self._job(operation), body)) as messages:
                async for message in messages:
                    is_finished = message.kind not in {Kind.ACCEPTED, Kind.PROGRESS}
                    if is_finished:
                        self._rest(worker)
                    yield message
        except (OSError, EOFError):
            raise UnavailableError(
                "The work was interrupted; try again.",
                code="worker_lost",
                headers={"Retry-After": "1"},
            ) from None
        finally:
            if not is_finished:
                await self._end(worker)

    def _job(self, operation: Operation) -> Mapping[str, Any]:
        return {"operation": operation, "max_cells": self._settings.matching_max_cells}

    async def _worker(self) -> "Worker":
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                worker.wake()
                return worker
            self._live.discard(worker)
        worker = await Worker.start()
        self._live.add(worker)
        return worker

    def _rest(self, worker: "Worker") -> None:
        self._idle.append(worker)
        worker.rest(self._settings.matching_idle_seconds, self._retire)

    def _retire(self, worker: "Worker") -> None:
        self._idle.remove(worker)
        self._live.discard(worker)
        worker.dismiss()

    async def _end(self, worker: "Worker") -> None:
        self._live.discard(worker)
        worker.kill()
        # The process is dead within a moment; whoever waits for this may be cancelled meanwhile.
        await asyncio.shield(worker.gone())

    async def close(self) -> None:
        """End all workers."""
        self._idle.clear()
        for worker in list(self._live):
            await self._end(worker)


def _tighten(deadline: asyncio.Timeout, seconds: float | None) -> None:
    current = deadline.when()
    if seconds is not None and current is not None:
        deadline.reschedule(min(current, asyncio.get_running_loop().time() + seconds))


def environment() -> dict[str, str]:
    """Return what a worker is told by its environment; no secret is in it."""
    return {
        **{name: os.environ[name] for name in HANDED_ON if name in os.environ},
        "PYTHONPATH": os.pathsep.join(part or os.getcwd() for part in sys.path),  # noqa: PTH109 - as the interpreter reads it
        **WORKER_ENVIRONMENT,
    }


class Worker:
    """One process that solves one problem at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Speak to a process that was started."""
        self._process = process
        self._bedtime: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls) -> Self:
        """Start a process."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.matching.pool"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            # Ctrl-C is for the service; workers end when their input does.
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs, as far as is known."""
        return self._process.returncode is None

    async def run(self, job: Mapping[str, Any], body: bytes) -> AsyncGenerator[Message]:
        """Hand over a problem and yield what the process says about it."""
        assert self._process.stdin is not None  # noqa: S101 - it was started with pipes
        assert self._process.stdout is not None  # noqa: S101 - it was started with pipes
        for part in (to_json(job), body):
            self._process.stdin.write(HEADER.pack(b"J", len(part)))
            self._process.stdin.write(part)
        await self._process.stdin.drain()
        is_finished = False
        while not is_finished:
            letter, size = HEADER.unpack(await self._process.stdout.readexactly(HEADER.size))
            message = Message(Kind(letter.decode()), await self._process.stdout.readexactly(size))
            is_finished = message.kind not in {Kind.ACCEPTED, Kind.PROGRESS}
            yield message

    def rest(self, seconds: float, retire: Callable[["Worker"], None]) -> None:
        """Wait for the next problem, not longer than given."""
        self._bedtime = asyncio.get_running_loop().call_later(seconds, retire, self)

    def wake(self) -> None:
        """Work again."""
        if self._bedtime is not None:
            self._bedtime.cancel()

    def dismiss(self) -> None:
        """Let the process end by itself: its input does."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.wake()
        if self.is_alive:
            self._process.kill()

    async def gone(self) -> None:
        """Wait until the process is no more."""
        await self._process.wait()


def refusal(message: Message) -> DomainError:
    """Return what a worker refused, as the error it is."""
    from shared.web.problems import violations_of  # noqa: PLC0415 - workers need no web framework

    content = from_json(message.content)
    if message.kind is Kind.MALFORMED:
        is_json = all(one["type"] != "json_invalid" for one in content)
        return InvalidError(
            code="invalid_request" if is_json else "invalid_json", errors=violations_of(content)
        )
    if message.kind is Kind.INVALID:
        errors = [Violation(**one) for one in content["errors"]]
        return InvalidError(content["detail"], code=content["code"], errors=errors)
    raise RuntimeError(f"a worker failed with {content['error_type']}")


# Inside a worker.


def work() -> None:
    """Solve problems from standard input until it ends."""
    _die_with_the_service()
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[tuple[bytes, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while True:
        _serve(*jobs.get(), answers)


def _die_with_the_service() -> None:
    """Ask Linux to end this process with its parent, even while a library does not yield."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _listen(jobs: "queue.SimpleQueue[tuple[bytes, bytes]]") -> None:
    """Pass problems on; when the service is gone, end at once, even in the middle of one."""
    source = sys.stdin.buffer
    while True:
        parts = []
        for _ in range(2):
            header = source.read(HEADER.size)
            if len(header) < HEADER.size:
                os._exit(0)
            parts.append(source.read(HEADER.unpack(header)[1]))
        jobs.put((parts[0], parts[1]))


def _serve(job: bytes, body: bytes, answers: IO[bytes]) -> None:
    def say(kind: Kind, content: bytes) -> None:
        answers.write(HEADER.pack(kind.encode(), len(content)))
        answers.write(content)
        answers.flush()

    settings = from_json(job)
    try:
        result = _ANSWERS[Operation(settings["operation"])](body, settings["max_cells"], say)
    except ValidationError as error:
        found = [
            {"type": one["type"], "loc": ["body", *one["loc"]]} for one in error.errors()[:100]
        ]
        say(Kind.MALFORMED, to_json(found))
    except InvalidError as error:
        errors = [
            {"pointer": one.pointer, "code": one.code, "detail": one.detail} for one in error.errors
        ]
        say(Kind.INVALID, to_json({"code": error.code, "detail": error.detail, "errors": errors}))
    except Exception as error:  # noqa: BLE001 - told to the service, which answers and logs it
        say(Kind.FAULT, to_json({"error_type": type(error).__name__}))
    else:
        say(Kind.RESULT, result)


type Say = Callable[[Kind, bytes], None]


class Reporter:
    """Tells how far the work is, not more often than is of use."""

    def __init__(self, say: Say) -> None:
        """Start now."""
        self._say = say
        self._told_at = 0.0
        self._phase = ""
        self._began_at = time.monotonic()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Note a step; `done` of `total` are behind us."""
        from shared.schemas.matching import ProgressLine  # noqa: PLC0415

        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began_at = phase, now
        elif now - self._told_at < PROGRESS_SECONDS:
            return
        self._told_at = now
        left = (now - self._began_at) * (total - done) / done if done else None
        eta = None if left is None else round(left, 1)
        line = ProgressLine(phase=phase, done=done, total=total, eta_seconds=eta)
        self._say(Kind.PROGRESS, line.model_dump_json().encode())


class Stopwatch:
    """How long each phase of the work takes."""

    def __init__(self) -> None:
        """Start now."""
        self._laps = [time.monotonic()]

    def lap(self) -> None:
        """End a phase and begin the next."""
        self._laps.append(time.monotonic())

    def timings(self) -> "Timings":
        """End the last of four phases and return how long each was."""
        from shared.schemas.matching import Timings  # noqa: PLC0415

        self.lap()
        spent = [round(later - earlier, 3) for earlier, later in itertools.pairwise(self._laps)]
        return Timings(prepare=spent[0], score=spent[1], solve=spent[2], explain=spent[3])


def _scores(body: bytes, max_cells: int, say: Say) -> bytes:
    from services.matching import questions  # noqa: PLC0415 - only workers load numerics
    from shared.schemas.matching import ScoresRequest  # noqa: PLC0415

    request = ScoresRequest.model_validate_json(body)
    answer = questions.score(request, max_cells=max_cells, step=Reporter(say))
    return answer.model_dump_json().encode()


def _explanations(body: bytes, max_cells: int, say: Say) -> bytes:
    from services.matching import questions  # noqa: PLC0415 - only workers load numerics
    from shared.schemas.matching import ExplanationsRequest  # noqa: PLC0415

    request = ExplanationsRequest.model_validate_json(body)
    answer = questions.explain(request, max_cells=max_cells, step=Reporter(say))
    return answer.model_dump_json().encode()


def _policy_check(body: bytes, max_cells: int, say: Say) -> bytes:
    from services.matching import questions  # noqa: PLC0415 - only workers load numerics
    from shared.schemas.matching import PolicyCheckRequest  # noqa: PLC0415

    request = PolicyCheckRequest.model_validate_json(body)
    answer = questions.check_policy(request, max_cells=max_cells, step=Reporter(say))
    return answer.model_dump_json().encode()


def _embeddings(body: bytes, _max_cells: int, _say: Say) -> bytes:
    from services.matching import embeddings  # noqa: PLC0415 - only workers load numerics
    from shared.schemas.matching import EmbeddingsRequest  # noqa: PLC0415

    request = EmbeddingsRequest.model_validate_json(body)
    return embeddings.of(request).model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class Form:
    """A problem that is asked as a whole: its steps, and the line that ends its answer.

    What `lay_out` returns is what `make` takes, and `describe` takes both. `told` is what the line
    calls the answer. At most `most_cells` pairs are taken.
    """

    asked: "type[Problem]"
    lay_out: Callable[..., Any]
    make: Callable[..., Any]
    describe: "Callable[..., Wire]"
    line: "Callable[..., Wire]"
    told: str
    most_cells: int = WHOLE_CELLS


def _solution() -> Form:
    from services.matching import solver  # noqa: PLC0415 - only workers load numerics
    from shared.schemas.matching import Problem, SolutionLine  # noqa: PLC0415

    def describe(_board: Any, decided: Any, *, step: Reporter) -> Any:
        return solver.describe(decided, step=step)

    steps = solver.lay_out, solver.solve, describe
    return Form(Problem, *steps, SolutionLine, "solution", most_cells=sys.maxsize)


def _circles() -> Form:
    from services.matching import circles  # noqa: PLC0415 - only workers load numerics
    from shared.schemas.matching import CircleProblem, CirclesLine  # noqa: PLC0415

    steps = circles.lay_out, circles.form, circles.describe
    return Form(CircleProblem, *steps, CirclesLine, "circles")


def _schedule() -> Form:
    from services.matching import schedules  # noqa: PLC0415 - only workers load numerics
    from shared.schemas.matching import FlashProblem, ScheduleLine  # noqa: PLC0415

    steps = schedules.lay_out, schedules.plan, schedules.describe
    return Form(FlashProblem, *steps, ScheduleLine, "schedule")


def _draw() -> Form:
    from services.matching import draws  # noqa: PLC0415 - only workers load numerics
    from shared.schemas.matching import DrawLine, DrawProblem  # noqa: PLC0415

    steps = draws.lay_out, draws.draw, draws.describe
    return Form(DrawProblem, *steps, DrawLine, "draw")


def _whole(form_of: Callable[[], Form], body: bytes, max_cells: int, say: Say) -> bytes:
    """Answer a problem that is asked as a whole, telling how long each step took."""
    from services.matching import solver  # noqa: PLC0415 - only workers load numerics

    form, clock, step = form_of(), Stopwatch(), Reporter(say)
    asked = form.asked.model_validate_json(body)
    clock.lap()
    ground = form.lay_out(asked, max_cells=min(max_cells, form.most_cells), step=step)
    say(Kind.ACCEPTED, to_json({"time_s": asked.policy.limits.time_s}))
    clock.lap()
    made = form.make(ground, step=step)
    clock.lap()
    told = form.describe(ground, made, step=step)
    line = form.line(digest=solver.digest_of(told), timings=clock.timings(), **{form.told: told})
    return line.model_dump_json().encode()


_ANSWERS: Mapping[Operation, Callable[[bytes, int, Say], bytes]] = MappingProxyType(
    {
        Operation.SOLUTIONS: partial(_whole, _solution),
        Operation.SCORES: _scores,
        Operation.EXPLANATIONS: _explanations,
        Operation.POLICY_CHECKS: _policy_check,
        Operation.EMBEDDINGS: _embeddings,
        Operation.CIRCLES: partial(_whole, _circles),
        Operation.SCHEDULES: partial(_whole, _schedule),
        Operation.DRAWS: partial(_whole, _draw),
    }
)

if __name__ == "__main__":
    work()
