"""Runs, answers and verdicts in and out of the store."""

from stb_evaluator.transfer.bundles import Bundle, is_bundle, read_bundle
from stb_evaluator.transfer.importing import NO_DATASET, ImportSummary, import_answers
from stb_evaluator.transfer.merging import Merged, merge_bundle
from stb_evaluator.transfer.proofs import (
    Finding,
    bundle_of,
    derive_numbers,
    foreign_in_store,
    foreign_verdicts,
    lock_dataset,
    lock_run,
    prove,
)
from stb_evaluator.transfer.votes import source_name
