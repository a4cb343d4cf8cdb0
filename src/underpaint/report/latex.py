"""LaTeX: text that is typeset as it stands."""

from __future__ import annotations

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": r"$-$",
    "×": r"$\times$",
    "φ": r"$\varphi$",
}


def escape(text: str) -> str:
    """Plain text for LaTeX."""
    return "".join(SPECIAL.get(character, character) for character in text)


def code(text: str) -> str:
    """A name, as it is spelt in the program."""
    return rf"\texttt{{{escape(text)}}}"
