"""The inspector: pages that show what the store holds. They are made on the server and need no network."""

from stb_server.inspector.context import Inspector
from stb_server.inspector.json_api import TextParameter, TextPathParameter
from stb_server.inspector.search import find_keys
from stb_server.inspector.site import routes
