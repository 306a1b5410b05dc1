"""x"""

from pathlib import Path

from nas.run_directory import Run


def write_report(run: Run) -> Path:
    """x"""
    return run.report_path
