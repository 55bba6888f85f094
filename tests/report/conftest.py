"""Loads the builders and readers under names of their own: test folders are no packages and share no import path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

for _name in ("builders", "reading"):
    _spec = importlib.util.spec_from_file_location(f"report_{_name}", Path(__file__).with_name(f"{_name}.py"))
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_spec.name] = _module
    _spec.loader.exec_module(_module)
