"""What an agent sees in a trial: the task, its functions, its budget, its model and the server."""

from stb_agents.environment.agent import Agent, ModelUse, Outcome, Task
from stb_agents.environment.budget import UNLIMITED, Budget, BudgetSpent, RunStopped
from stb_agents.environment.environment import Environment, Sampling, with_seed
from stb_agents.environment.server_client import ServedDataset, VirtualClient
from stb_agents.environment.server_episode import ServerEpisode
from stb_agents.environment.turns import Turn, count_before_finish, perform_calls
