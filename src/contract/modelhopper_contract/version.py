"""The version of modelhopper, for those who may not import the package that users do."""

from __future__ import annotations

VERSION = "0.1.0"
