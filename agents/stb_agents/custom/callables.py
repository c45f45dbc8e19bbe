"""Your own agent as a plain function: ``solve(task, tools) -> answer``, sync or async.

    def solve(task, tools):
        seen = tools["current_for_sky_watch"](city="Velmora")
        return f"The server said {seen}"

``tools`` holds the query's functions, in order and by name. A tool is called with keyword arguments and returns the
text that a model would see; an async ``solve`` awaits it. The answer is text, or any value that JSON can
hold; None gives up. Instead, an agent may hand in its answer as a model would, by ``tools.call("Finish", …)``:
then that answer counts, and no call can follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stb_agents.environment import UNLIMITED, Budget, Environment, ModelUse, Outcome, Task
from stb_core.errors import CallError
from stb_core.values import FINISH, Finished
from stb_core.values.functions import ApiFunction
from stb_core.values.observations import finish_arguments

_LoopCall = Callable[[str, str], Any]


class Tool:
    """One function of a query; call it with its parameters as keywords."""

    def __init__(self, function: ApiFunction, call: _LoopCall) -> None:
        self.name = function.name
        self.description = function.schema.description
        self.parameters = function.schema.parameters
        self._call = call

    def __call__(self, **arguments: Any) -> Any:
        """Call the tool; returns its answer as text. An async agent awaits it."""
        return self._call(self.name, json.dumps(arguments, ensure_ascii=False))

    @property
    def schema(self) -> dict[str, Any]:
        """The tool in the form of OpenAI's chat format."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class Tools:
    """The functions of a query, in order, and by name."""

    def __init__(self, environment: Environment, call: _LoopCall) -> None:
        self._call = call
        self._tools = [Tool(function, call) for function in environment.functions.all]
        self._by_name = {tool.name: tool for tool in self._tools}

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __getitem__(self, name: str) -> Tool:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def call(self, name: str, arguments: str) -> Any:
        """Call a function as a model writes it: any name, arguments as JSON text. Mistakes come back as observations."""
        return self._call(name, arguments)

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """All tools in the form of OpenAI's chat format."""
        return [tool.schema for tool in self._tools]


@dataclass(frozen=True)
class CallableAgent:
    """An agent made of a callable."""

    name: str
    solver: Callable[[Task, Tools], Any] = field(repr=False)

    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """Empty: a function has no settings that are known. The hash of its file is in the manifest."""
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Call the function and hand in what it returns, unless it has called ``Finish``.

        Raises:
            FormatError: JSON cannot hold what it returns.
        """
        finished: Finished | None = None

        async def call(name: str, arguments: str) -> str:
            nonlocal finished
            if finished:
                raise CallError("The agent has called Finish; no call can follow.")
            if name == FINISH:
                step, finished = environment.finish(arguments)
            else:
                step = await environment.call(name, arguments)
            return step.observation

        try:
            answer = await self._answer(task, environment, call)
        except (Exception, SystemExit):  # after Finish no error of the agent counts
            if finished is None:
                raise
        return Outcome(finished.stop, finished.final_answer) if finished else hand_in(answer, environment)

    async def _answer(
        self, task: Task, environment: Environment, call: Callable[[str, str], Coroutine[Any, Any, str]]
    ) -> Any:
        """What the function returns."""
        if _is_async(self.solver):
            answer = await self.solver(task, Tools(environment, call))
        else:
            loop = asyncio.get_running_loop()

            def call_from_thread(name: str, arguments: str) -> str:
                return asyncio.run_coroutine_threadsafe(call(name, arguments), loop).result()

            answer = await in_thread(lambda: self.solver(task, Tools(environment, call_from_thread)))
        return await answer if isinstance(answer, Awaitable) else answer


def hand_in(answer: Any, environment: Environment) -> Outcome:
    """Finish with an answer; None gives up."""
    _, finished = environment.finish(finish_arguments(answer))
    assert finished
    return Outcome(finished.stop, finished.final_answer)


def takes_task_and_tools(candidate: Any) -> bool:
    """Whether something can be called as ``solve(task, tools)``."""
    if not callable(candidate) or inspect.isclass(candidate):
        return False
    try:
        inspect.signature(candidate).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def _is_async(solver: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(solver) or inspect.iscoroutinefunction(type(solver).__call__)


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run blocking work in a new thread, which does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, problem: BaseException | None) -> None:
        if done.done():
            return
        if problem is None:
            done.set_result(result)
        else:
            done.set_exception(problem)

    def run() -> None:
        result: Any = None
        problem: BaseException | None = None
        try:
            result = work()
        except StopIteration:  # a future does not accept it
            problem = RuntimeError("the agent raised StopIteration")
        except BaseException as caught:  # noqa: BLE001 - raised in the coroutine that waits, an exit as well
            problem = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, daemon=True, name="agent").start()
    return await done
