"""How the studio looks: system fonts, so that nothing is fetched, and few colours."""

from __future__ import annotations

from typing import Any

CSS = """
.stage img { width: 100%; max-height: 70vh; object-fit: contain; background: #8881; border-radius: 6px; }
.stage .none { padding: 4rem 1rem; text-align: center; border: 1px dashed #8888; border-radius: 6px; }
.curves img { width: 100%; max-width: 36rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: 0.5rem; }
.cards.wide { grid-template-columns: repeat(2, 1fr); }
.cards figure { margin: 0; } .cards img { width: 100%; border-radius: 4px; }
.cards figcaption { font-size: 0.8rem; overflow-wrap: anywhere; }
.why iframe { width: 100%; height: 85vh; border: 1px solid #8886; border-radius: 6px; background: #fff; }
.bar { height: 8px; background: #8883; border-radius: 4px; overflow: hidden; margin: 0.4rem 0; }
.bar > div { height: 100%; background: #0072b2; }
.told { min-height: 1.5rem; }
.links a { display: inline-block; margin-right: 1rem; text-decoration: underline; }
footer { display: none !important; }
"""


def theme() -> Any:
    """Gradio's base theme in system fonts."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.stone,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
