"""How Sphinx builds these pages: Markdown through MyST, warnings as errors (`make docs`)."""

from gymtwist import __version__

project = "gymtwist"
author = "the gymtwist authors"
copyright = "the gymtwist authors"
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "gymtwist"
