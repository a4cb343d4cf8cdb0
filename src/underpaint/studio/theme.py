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
.cards a { color: inherit; text-decoration: none; display: block; } .cards a:hover figcaption { text-decoration: underline; }
.links a { display: inline-block; margin-right: 1rem; text-decoration: underline; }
.gallery { gap: 6px; } .gallery-item { width: calc(50% - 3px); } .gallery-item * { width: 100%; max-width: none; }
.or, .min_value, .max_value { color: var(--body-text-color-subdued) !important; }
input[role=combobox], button[role=tab].selected { color: var(--body-text-color) !important; }
footer { display: none !important; }
"""
"""Ours, and where Gradio's own falls short of what axe-core asks of contrast."""

SCRIPT = """() => {
  const name = () => document.querySelectorAll("button.gallery-item:not([aria-label])").forEach((button) => {
    const image = button.querySelector("img");
    if (image) button.ariaLabel = "Sample " + decodeURIComponent(image.src.split("/").pop());
  });
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
}"""
"""Gives the samples, which are pictures on buttons, a name for those who do not see them."""


def theme() -> Any:
    """Gradio's base theme in system fonts, its contrasts raised to 4.5."""
    import gradio as gr

    base = gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.stone,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return base.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )
