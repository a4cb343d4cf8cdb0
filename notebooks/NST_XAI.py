# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Neural style transfer that explains itself
#
# Neural style transfer paints a photograph in the style of a painting: it changes the photograph's pixels, step by step, until a
# pretrained network sees the painting's textures in it (Gatys, Ecker & Bethge 2016). This notebook does that, and then asks the
# question that is usually left open:
#
# > **Which layer of the network painted what, how sure are we, and does it hold when that layer is taken away?**
#
# Run the cells from top to bottom. On a laptop with two cores all of it takes about ten minutes at 256 px; in Colab choose a GPU
# runtime for larger pictures. Everything is kept in the folder `out/notebook`, and a cell that was interrupted resumes where it was.

# %%
import importlib.util
import os
import subprocess
import sys

# Where pip finds the package: a name, a folder or a git+https address.
REPOSITORY = os.environ.get("UNDERPAINT_REPOSITORY", "underpaint")

if importlib.util.find_spec("underpaint") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", REPOSITORY], check=True)

# %% [markdown]
# ## 1. Choose pictures
#
# In Colab two upload buttons appear. Elsewhere, write file names into `CONTENT` and `STYLE`; left empty, a photograph from
# scikit-image and a style picture that comes with the package are used.

# %%
from pathlib import Path

from IPython.display import Image as ShowImage
from IPython.display import Markdown, display

import underpaint
from underpaint import samples

CONTENT, STYLE = os.environ.get("UNDERPAINT_CONTENT", ""), os.environ.get("UNDERPAINT_STYLE", "")
SIZE = int(os.environ.get("UNDERPAINT_SIZE", 256))  # longest side, pixels
PRESET = os.environ.get("UNDERPAINT_PRESET", "standard")  # "draft" takes a quarter of the time
OUT = Path(os.environ.get("UNDERPAINT_OUT", "out/notebook"))

if importlib.util.find_spec("google") and importlib.util.find_spec("google.colab"):
    from google.colab import files

    print("The photograph:")
    CONTENT = CONTENT or next(iter(files.upload()), "")
    print("The painting:")
    STYLE = STYLE or next(iter(files.upload()), "")

content = CONTENT or samples.photograph("chelsea")
style = STYLE or samples.style_path("gale")

# %% [markdown]
# ## 2. Paint
#
# The picture grows from 91 px up, by factors of √2: large strokes are set while the picture is small, details later. The *content
# loss* says how far the picture has moved from the photograph, as layer `relu4_2` sees it. The *style loss* at a layer says how
# far the distribution of its features (mean and covariance) is from the painting's: 1 for the photograph, 0 for a perfect match.

# %%
import matplotlib.pyplot as plt
import numpy as np

session = underpaint.start(content, style, size=SIZE, preset=PRESET, precision="float32")  # as explanations have it
shown = display(Markdown("…"), display_id=True)
curves: dict[str, list[float]] = {}
for step in session:
    for term in step.terms:
        curves.setdefault(term.name, []).append(term.raw)
    if step.scale_done or step.final:
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        left.imshow(session.run.pastiche)
        left.set_title(f"{step.size[1]}×{step.size[0]} px, step {step.step}")
        left.set_axis_off()
        for name, values in curves.items():
            right.semilogy(np.maximum(values, 1e-5), label=name, lw=1)
        right.set_xlabel("step")
        right.legend(fontsize=6)
        shown.update(figure)
        plt.close(figure)

# %% [markdown]
# ## 3. Did it converge?
#
# Each size begins where the smaller one ended; its losses are other losses (of another size), so the curves jump there. What
# matters is that they are flat at the end of the last size: a picture that is still changing cannot be explained.

# %%
run = session.run
print(f"{len({row.step for row in run.history})} steps, {run.history[-1].seconds:.0f} s")
for name, value in run.losses.items():
    print(f"{name:>18}  {value:.4f}")

# %% [markdown]
# ## 4. Explain it
#
# The same picture is painted again with an account of every pixel (the *ledger*), and then with every subset of the five style
# layers: 32 coalitions, and eight of them once more from a slightly different start, which tells how large chance is. Each result
# is judged by what nobody optimised: other layers, by another distance, at three sizes.

# %%
from underpaint.explanation import explaining
from underpaint.explanation.conclude import conclude

made = explaining.start(content, style, out=OUT, size=SIZE, preset=PRESET)
shown = display(Markdown("…"), display_id=True)
tenth = -1
for progress in made:
    if int(20 * progress.done / progress.total) > tenth:
        tenth = int(20 * progress.done / progress.total)
        shown.update(Markdown(f"{progress.doing}: {progress.done:.0f} of {progress.total:.0f}"))
found = conclude(made)

# %% [markdown]
# ### The verdict
#
# Only orderings that are resolved (at 95 % over all pairs of layers, Holm) are named.

# %%
display(Markdown("\n".join(f"- {sentence}" for sentence in found.verdict)))

# %% [markdown]
# ## 5. Which layer did how much?
#
# The **Shapley value** of a layer is its fair share of the fall of the judge, over all orders in which the layers could join. The
# whiskers are 95 % intervals. Beside it stand what people usually report (the share of the final style loss, which measures how
# badly a layer was matched, not what it did) and what a single run with its ledger says.


# %%
def bars(axes, attribution, title):
    values = np.array(list(attribution.values.values()))
    names = list(attribution.values)
    errors = None
    if attribution.low is not None:
        errors = np.abs(np.array([[attribution.low[n] for n in names], [attribution.high[n] for n in names]]) - values)
    axes.bar(range(len(names)), values, yerr=errors, color="#0072B2", capsize=3)
    axes.set_xticks(range(len(names)), [n.removeprefix("relu") for n in names])
    axes.set_title(title, fontsize=8)
    axes.set_ylabel(attribution.unit, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


chosen = {"shapley": "Shapley", "left_out": "left out", "alone": "alone", "final_loss": "final loss (the usual)"}
chosen |= {"ledger": "ledger", "judge_path": "judge's path"}
figure, axes = plt.subplots(2, 3, figsize=(9, 4.6), layout="constrained")
for place, (method, title) in zip(axes.flat, chosen.items(), strict=True):
    bars(place, found.attributions[method], title)
display(figure)
plt.close(figure)

# %% [markdown]
# A judge praises the layers that make what it sees: fine texture for a shallow judge, forms for a deep one. So we ask several.

# %%
methods = [name for name in found.attributions if name.startswith("shapley")]
print(f"{'judge':>24}", *(f"{layer:>9}" for layer in found.players))
for method in methods:
    values = found.attributions[method].values
    print(f"{method.removeprefix('shapley:'):>24}", *(f"{values[layer]:9.3f}" for layer in found.players))

# %% [markdown]
# ## 6. Ablation: take layers away and look
#
# *Shallow* is blocks 1 and 2, *mid* block 3, *deep* blocks 4 and 5. J is the judge's figure: 1 for the photograph, 0 for the style.

# %%
display(ShowImage(str(found.folder / "gallery.png")))

# %% [markdown]
# ## 7. The ledger: an exact account of the pixels
#
# The picture is the sum of the start, one column per term, and what the bounds 0..1 clipped: exactly, up to rounding. Top: each
# column (grey is no change). Middle: where it pulled along the change (orange) or against it (blue). Bottom: the size of its
# detail, and which columns pull together or fight. It is an account of this run, not of what would have happened without a layer;
# section 6 shows that.

# %%
display(ShowImage(str(found.folder / "ledger.png")))
print(f"closure: {found.validation['checks']['closure']:.1e} of a pixel's range")

# %% [markdown]
# ## 8. Where does it come from?
#
# For a box of the pastiche: how much each layer did there, and from which regions of the painting its features come.

# %%
height, width = found.run.pastiche.shape[:2]
found.draw_region((width // 3, height // 4, width // 4, height // 4), found.folder / "where.png")
display(ShowImage(str(found.folder / "where.png")))

# %% [markdown]
# ## 9. Can the attributions be trusted?
#
# *Concordance*: of the pairs of layers whose Shapley values are resolved, how many does an attribution order alike? *Percentile*:
# among all orders in which layers could be taken away, how good is its order at making the judge rise fast (1 is best)?

# %%
rows = ["| attribution | concordance | pairs | percentile of its deletion curve |", "|---|---|---|---|"]
for name, f in found.validation["faithfulness"].items():
    concordance = "no pair resolved" if f["concordance"] is None else f"{f['concordance']:.2f}"
    rows.append(f"| {name} | {concordance} | {f['pairs']} | {f['percentile']:.2f} |")
display(Markdown("\n".join(rows)))
checks = found.validation["checks"]
print(f"the cross matrix misses {checks['cross_residual']:.2%}, the judge's path {checks['path_residual']:.1%}")
print(f"κ = {checks['kappa']:.1f}")

# %% [markdown]
# ## 10. Quality
#
# How the full picture and the named groups fare with every judge. Lower is nearer to the style (`heldout…`, `patches`) or to the
# photograph (`content`, `ssim_distance`).

# %%
judges = list(next(iter(found.table.rows.values())).outcomes)
rows = ["| layers | " + " | ".join(judges) + " |", "|---" * (len(judges) + 1) + "|"]
for name, group in found.validation["groups"].items():
    if name in ("all", "none", "shallow", "mid", "deep") and (group["layers"] or name == "none"):
        mask = sum(1 << found.players.index(layer) for layer in group["layers"])
        rows.append(f"| {name} | " + " | ".join(f"{found.table.rows[0, mask].outcomes[j]:.3f}" for j in judges) + " |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# Judges of a whole explanation must be the same for all coalitions. The finished picture by itself can be asked more: how much of
# the photograph's structure it kept (SSIM, edges, which places are alike), and how near its colours are to the painting's.

# %%
from underpaint.quality import MEASURES
from underpaint.runs import comparing

(row,) = comparing.compare([found.folder]).rows
rows = ["| measure | value | better | what it sees |", "|---|---|---|---|"]
for name, value in row.values.items():
    m = MEASURES[name]
    rows.append(f"| {name} | {value:.3f} | {m.better} ({m.against}) | {m.what} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# ## 11. Conclusions
#
# The verdict above is this run's. What holds in general, over many pairs of pictures, and which attribution foretells best what
# taking a layer away does, is measured in the package's `docs/explain.md`. To cite a figure from here, give the recipe
# (`run.json`), the judge and the interval; `schema.md` in the folder says what every file holds.

# %%
from underpaint.paper.export import Press
from underpaint.report import page

print("A page to look at, with sliders that take a layer's paint away:", page.build(found.folder))
print("Figures and tables for a paper:", *(path.name for path in Press(found.folder)))
print(f"Everything lies in {found.folder}: schema.md says what is what.")
