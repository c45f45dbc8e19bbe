"""Episodes over HTTP: any agent, in any language, takes a query, calls its tools and hands in an answer."""

from stb_server.episodes.mcp import MCP_PATHS, McpEndpoint
from stb_server.episodes.model_proxy import ModelProxy
from stb_server.episodes.service import EpisodeService
