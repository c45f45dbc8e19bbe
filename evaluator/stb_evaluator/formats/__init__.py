"""The answer files of ToolBench and StableToolBench, read and written."""

from stb_evaluator.formats.converted_out import (
    converted_record,
    openai_record,
    pass_rate_record,
    pass_rate_table,
)
from stb_evaluator.formats.functions import resolve_steps
from stb_evaluator.formats.offered import offer_of
from stb_evaluator.formats.preferences import Votes
from stb_evaluator.formats.published import kept_final_answer, published_answer
from stb_evaluator.formats.raw_out import method_of, raw_record
from stb_evaluator.formats.reading import ReadAnswers, read_all
from stb_evaluator.formats.records import AnswerRecord
from stb_evaluator.formats.sources import Skipped
