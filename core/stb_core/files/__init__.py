"""Files of others, read within limits, and files of ours, written whole or not at all."""

from stb_core.files.limits import MIB, FileLimitError, FileLimits, file_limits, in_words, too_much
from stb_core.files.reading import Archive, LimitedLines, open_zstd, read_document
from stb_core.files.writing import whole_file, whole_folder, write_files
