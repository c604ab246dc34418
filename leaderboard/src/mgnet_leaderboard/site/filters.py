"""The paper's ASCII notation as safe HTML: B^{l,i} becomes a B with a superscript."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

SUPERSCRIPT = re.compile(r"\^(?:\{([^{}]*)\}|(\w))")


def notation_markup(text: str) -> Markup:
    """The text, escaped, with superscripts and the Greek sigma set as such."""
    safe = str(escape(text))
    safe = SUPERSCRIPT.sub(lambda match: f"<sup>{(match[1] or match[2]).replace('l', 'ℓ')}</sup>", safe)
    return Markup(safe.replace("sigma o ", "σ∘").replace("sigma", "σ"))
