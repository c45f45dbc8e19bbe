"""The HTTP application: routes, guards, health, and the processes that serve it."""

from stb_server.app.inspector_only import create_inspector
from stb_server.app.process import bind, check, serve, url_of
