"""Reports: what was found about runs, as Markdown, CSV, JSON or one self-contained HTML file."""
