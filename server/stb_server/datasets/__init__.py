"""Datasets in and out of the store: releases, dumps, checks and differences."""

from stb_server.datasets.dataset_names import checked_dataset_name
from stb_server.datasets.differences import DifferenceKind, find_differences, opened_diff_side
from stb_server.datasets.dump_file import SUFFIXES, opened_dump
from stb_server.datasets.import_report import shortened
from stb_server.datasets.importing import DatasetImport
from stb_server.datasets.integrity import IntegrityProblem, check_contents, check_responses
from stb_server.datasets.official_layout import write_official_cache
from stb_server.datasets.release import find_release, import_release
from stb_server.datasets.verification import ReviewTally, review_response
