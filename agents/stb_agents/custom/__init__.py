"""Agents that users bring: functions, classes, remote services and replays."""

from stb_agents.custom.agent_code import AgentCode
from stb_agents.custom.callables import hand_in
from stb_agents.custom.registry import ChosenAgent, choose_agent
from stb_agents.custom.remote import Remote, check_agent
from stb_agents.custom.replay import PREFIX, load_replay
