"""One server process: its options, its resources and the datasets that it serves."""

from stb_server.worker.clients import ANYONE, CLIENT, Client, Clients, hash_of_token, read_tokens_file
from stb_server.worker.dataset_views import DatasetView, ViewRequest
from stb_server.worker.host_names import Hosts, host_name
from stb_server.worker.metrics import (
    MetricLabels,
    Numbers,
    add_other_workers,
    exposition,
    publish_numbers,
    read_numbers,
)
from stb_server.worker.options import MEBIBYTE, ServerOptions
from stb_server.worker.worker import Worker
