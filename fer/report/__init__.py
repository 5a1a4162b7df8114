"""Report of a run, a cross-validation or a sweep: one self-contained HTML page."""

from fer.report.gather import gather
from fer.report.page import write_report

__all__ = ["gather", "write_report"]
