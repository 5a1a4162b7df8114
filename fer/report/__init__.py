"""What a folder of runs holds, as one page that opens anywhere."""

from fer.report.gather import gather
from fer.report.page import write_report

__all__ = ["gather", "write_report"]
