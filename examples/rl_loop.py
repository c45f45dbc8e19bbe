"""Reinforcement learning over the episodes API: a Gymnasium environment, and a learner in it.

Start a server with ``stb serve --dataset demo``, then run
``python examples/rl_loop.py --group G1_tool --run rl``.

An action is a call of a tool with the examples of its documentation, or the end of the episode with all
observations as the answer. The reward here is a stand-in: 1 for a call that returned something new, and -0.1 for
any other; a real reward comes from a judge, see ``stb score``. The learner is a bandit that keeps the mean
reward of each action. After training it solves each query once, in a separate run.
"""

from __future__ import annotations

import argparse
import random
from typing import Any

import gymnasium
import httpx
from plain_callable import example_arguments

STEPS = 4


class EpisodeEnv(gymnasium.Env[str, int]):
    """One query; each episode of the environment is an episode of the server, and a trial of its run."""

    def __init__(self, http: httpx.Client, asked: dict[str, Any]) -> None:
        self._http = http
        self._asked = asked
        self._trial = -1
        self._episode: dict[str, Any] = {}
        self._seen: list[str] = []
        self.observation_space = gymnasium.spaces.Text(max_length=4096)
        self.action_space = gymnasium.spaces.Discrete(1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Open the next trial's episode; the first observation is the query."""
        super().reset(seed=seed, options=options)
        self._trial += 1
        asked = {**self._asked, "trial": self._trial}
        opened = self._http.post("/v1/episodes?format=mcp", json=asked).raise_for_status()
        self._episode, self._seen = opened.json(), []
        # The last tool is Finish.
        self.action_space = gymnasium.spaces.Discrete(len(self._episode["tools"]))
        return self._episode["query"], {"tools": self._episode["tools"]}

    def step(self, action: int) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Call a tool, or finish."""
        tool = self._episode["tools"][action]
        if tool["name"] == "Finish":
            ended = self._post("finish", {"answer": "\n".join(self._seen) or None})
            return "", 0.0, True, False, {"stop": ended["stop"]}
        call = {"name": tool["name"], "arguments": example_arguments(tool["inputSchema"])}
        called = self._post("calls", call)
        observation = called["observation"]
        brought = not called["error"] and observation not in self._seen
        if brought:
            self._seen.append(observation)
        return observation, 1.0 if brought else -0.1, False, False, called

    def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._episode['token']}"}
        answer = self._http.post(f"/v1/episodes/{self._episode['id']}/{what}", json=body, headers=headers)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


class Bandit:
    """Mean rewards of a query's actions; the most promising action is tried first."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._sums: dict[int, float] = {}
        self._counts: dict[int, int] = {}

    def learn(self, action: int, reward: float) -> None:
        """Record the reward of an action."""
        self._sums[action] = self._sums.get(action, 0.0) + reward
        self._counts[action] = self._counts.get(action, 0) + 1

    def choose(self, finish: int, tried: set[int], explores: float) -> int:
        """The next action: the best that is left, or by chance any; the end of the episode when none is left."""
        left = [action for action in range(finish) if action not in tried]
        if left and self._rng.random() < explores:
            return self._rng.choice(left)
        known = [action for action in left if self._mean(action) > 0]
        return max(known, key=self._mean, default=finish)

    def _mean(self, action: int) -> float:
        return self._sums.get(action, 0.0) / max(1, self._counts.get(action, 0))


def play(env: EpisodeEnv, bandit: Bandit, explores: float) -> float:
    """Run one episode; returns the sum of its rewards."""
    env.reset()
    finish, tried, total, is_over = int(env.action_space.n) - 1, set[int](), 0.0, False
    while not is_over:
        action = finish if len(tried) == STEPS else bandit.choose(finish, tried, explores)
        _, reward, is_over, _, _ = env.step(action)
        tried.add(action)
        bandit.learn(action, reward)
        total += reward
    return total


def main() -> None:
    """Train on each query, then solve it once in a recorded run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--group", required=True)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--run", required=True)
    parser.add_argument("--episodes", type=int, default=5, help="for training, of each query")
    given = parser.parse_args()
    with httpx.Client(base_url=given.server, timeout=60) as http:
        queries = http.get(f"/v1/datasets/{given.dataset}/queries", params={"group": given.group})
        for query in queries.json()["rows"][: given.limit]:
            asked = {
                "dataset": given.dataset,
                "group": given.group,
                "query_id": query["query_id"],
                "agent": "bandit",
            }
            training = {**asked, "run": f"{given.run}-training", "trials": given.episodes}
            env, bandit = EpisodeEnv(http, training), Bandit(random.Random(0))
            rewards = [play(env, bandit, explores=0.9) for _ in range(given.episodes)]
            learned = play(EpisodeEnv(http, {**asked, "run": given.run}), bandit, explores=0.0)
            print(
                f"query {query['query_id']}: {sum(rewards) / len(rewards):.2f} in training, then {learned:.2f}"
            )


if __name__ == "__main__":
    main()
