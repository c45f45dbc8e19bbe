"""Runs, answers and verdicts in and out of the store."""

from stb_evaluator.transfer.bundles import is_bundle, read_bundle
from stb_evaluator.transfer.importing import NO_DATASET, ImportSummary, import_answers
from stb_evaluator.transfer.merging import FOREIGN, Merged, merge_bundle
from stb_evaluator.transfer.proofs import Finding, bundle_of, derive_numbers, lock_dataset, lock_run, prove
