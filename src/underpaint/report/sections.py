"""What each section of a page shows, from a folder's evidence."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from underpaint.errors import UnderpaintError
from underpaint.explanation import preferences
from underpaint.explanation.account.ledger import CLAMP, START
from underpaint.explanation.attribution import drawn
from underpaint.explanation.files import COLOUR, PASTICHE
from underpaint.explanation.shapley.players import mask_of, stem
from underpaint.explanation.verdict import BANNERS
from underpaint.extensions import Registry
from underpaint.imaging import images
from underpaint.quality import MEASURES
from underpaint.quality.panel import HEADLINE, sees
from underpaint.recipe import to_toml
from underpaint.report import methods, reproduce, svg
from underpaint.report.folder import Evidence, Kind
from underpaint.runs import comparing
from underpaint.runs.scene import seen

T = TypeVar("T")


def picture(rgb: np.ndarray, longest: int | None = None, lossless: bool = False, quality: int = 88) -> str:
    """(H, W, 3) in 0..1 as a data address: WebP, at most `longest` pixels wide or high."""
    if longest is not None and max(rgb.shape[:2]) > longest:
        rgb = images.resize(rgb, images.size_for(rgb.shape[:2], longest))
    buffer = io.BytesIO()
    Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)).save(
        buffer, "WEBP", lossless=lossless, quality=quality, exact=True
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def columns(ledger: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Each column of the ledger as a grey-centred picture and its reach: value = (byte − 127.5) / 127.5 · reach."""
    found = []
    for name, column in ledger.items():
        if name in (START, PASTICHE, COLOUR):
            continue
        reach = max(float(np.abs(column).max()), 1e-6)
        found.append(
            {"name": name, "reach": reach, "data": picture(0.5 + 0.5 * column.transpose(1, 2, 0) / reach, quality=97)}
        )
    return found


def without(ledger: Mapping[str, np.ndarray], layer: str) -> np.ndarray:
    """(H, W, 3): the pastiche with a layer's column taken off, clipped."""
    return np.asarray(np.clip(ledger[PASTICHE] - ledger[f"style/{layer}"], 0, 1).transpose(1, 2, 0))


class Sections:
    """Makes this package's own, one method a section: what its template needs. What is missing of a section that can be shown
    goes into `missing`.

    Attributes:
        e: what the folder holds.
        missing: what is not there, one line each.
        data: what the page's script needs.
    """

    def __init__(self, evidence: Evidence, weights: Path | None) -> None:
        self.e, self.weights = evidence, weights
        self.missing: list[str] = []
        self.data: dict[str, Any] = {}

    def attempt(self, make: Callable[[], T]) -> T | None:
        """What it makes, or None and a line in `missing`."""
        try:
            return make()
        except UnderpaintError as error:
            if str(error) not in self.missing:
                self.missing.append(str(error))
            return None

    def pastiche(self) -> dict[str, Any]:
        rgb = self.e.pastiche
        size = rgb.shape[:2]
        inputs = self.attempt(lambda: self.e.inputs)
        styles = [] if inputs is None else [{"name": s.name, "data": picture(s.rgb, 512)} for s in inputs.styles]
        return {
            "size": size,
            "data": picture(rgb, lossless=True),
            "content": None if inputs is None else picture(images.resize(inputs.content.rgb, size)),
            "content_name": "" if inputs is None else inputs.content.name,
            "styles": styles,
        }

    def verdict(self) -> dict[str, Any]:
        return {"sentences": self.e.validation["verdict"], "state": self.e.state, "banner": BANNERS[self.e.state]}

    def convergence(self) -> dict[str, Any]:
        return {"charts": svg.convergence(self.e.history, self.e.recipe)}

    def recompose(self) -> dict[str, Any]:
        ledger = self.e.ledger
        height, width = ledger[PASTICHE].shape[1:]
        kept = columns(ledger)
        pastiche = picture(ledger[PASTICHE].transpose(1, 2, 0), lossless=True)
        self.data["recompose"] = {"width": width, "height": height, "columns": kept, "pastiche": pastiche}
        layers = [found for p in self.e.players if (found := self.attempt(lambda p=p: self._left_out(p))) is not None]  # type: ignore[misc]
        names = [c["name"] for c in kept if c["name"] != CLAMP]
        return {"size": (height, width), "layers": layers, "columns": names}

    def _left_out(self, layer: str) -> dict[str, Any]:
        """The pastiche that was painted without a layer, and how far the recomposed one is from that."""
        left = self.e.painted(mask_of([p for p in self.e.players if p != layer], self.e.players))
        return {
            "name": layer,
            "left_out": picture(left),
            "apart": self._apart(without(self.e.ledger, layer), left),
        }

    def _apart(self, a: np.ndarray, b: np.ndarray) -> str:
        """How far apart two pictures are, in words: LPIPS where its weights are available, else 1 − SSIM."""
        import torch

        from underpaint import quality

        tensors = [torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))).float()[None] for x in (a, b)]
        lpips = quality.find_lpips(self.weights)
        if lpips is not None:
            return f"LPIPS {lpips(*tensors):.2f}"
        return f"1 − SSIM {1 - quality.ssim(*tensors):.2f}"

    def cooperation(self) -> dict[str, Any]:
        cosines = self.e.validation["columns"]["cosines_smoothed_2px"]
        strip = self.attempt(lambda: picture(images.read(self.e.folder / "ledger.png", min_side=1).rgb, 1600))
        return {"strip": strip, "chart": svg.cooperation(cosines) if cosines else None}

    def attributions(self) -> dict[str, Any]:
        found, settled = self.e.attributions, self.e.state == "settled"
        faithful = self.e.validation["faithfulness"] if settled else {}
        return {
            "players": self.e.players,
            "charts": [svg.attribution(found[m], self.e.anatomy) for m in drawn("page") if m in found and settled],
            "banner": "" if settled else BANNERS[self.e.state],
            "methods": [(a, faithful.get(a.method)) for a in found.values()],
        }

    def likes(self) -> dict[str, Any] | None:
        """What each layer likes to see; nothing where the explanation is of before that was drawn."""
        layers = []
        for layer, channels in self.e.validation.get("likes", {}).items():
            rgb = images.read(self.e.folder / preferences.FOLDER / f"{stem(layer)}.png", min_side=1).rgb
            height, width = rgb.shape[:2]
            known = self.e.anatomy.layer(layer)
            shown = {"name": layer, "channels": channels, "data": picture(rgb), "width": width, "height": height}
            layers.append(shown | {"depth": known.depth, "stride": known.stride})
        return {"layers": layers} if layers else None

    def ablation(self) -> dict[str, Any]:
        cards = [card for name in self.e.configs if (card := self.attempt(lambda n=name: self._card(n))) is not None]  # type: ignore[misc]
        if not cards:
            raise UnderpaintError(f"{self.e.folder}: no named configuration is painted yet; run the command again to resume")
        judges = list(cards[0]["outcomes"])
        return {"cards": cards, "judges": judges, "headline": HEADLINE, "sees": {judge: sees(judge) for judge in judges}}

    def _card(self, name: str) -> dict[str, Any]:
        layers = self.e.configs[name]
        mask = mask_of(layers, self.e.players)
        shown = self.e.painted(mask)
        outcomes = self.e.table.rows[0, mask].outcomes
        return {"name": name, "layers": layers, "data": picture(shown, 384), "outcomes": outcomes}

    def shapley(self) -> dict[str, Any]:
        found = {m: a for m, a in self.e.attributions.items() if m.startswith("shapley")}
        rows = {m.partition(":")[2] or HEADLINE: a.values for m, a in found.items()}
        settled = self.e.state == "settled"
        game, curves = self.e.game(), self.e.validation["deletion_curves"] if settled else {}
        return {
            "players": self.e.players,
            "rows": rows,
            "sees": self.e.validation["judges_see"],
            "permutations": self.e.validation.get("permutations"),
            "whole": game.whole,
            "banner": "" if settled else BANNERS[self.e.state],
            "interactions": svg.interactions(game) if game.whole and settled else None,
            "deletion": svg.deletion(curves) if curves else None,
        }

    def spatial(self) -> dict[str, Any]:
        """For pointing: by layer, for each cell of the pastiche the cell's centre in the style picture."""
        kept = self.e.spatial
        maps = {
            layer: {"stride": source.stride, "rows": source.rows.tolist(), "columns": source.columns.tolist()}
            for layer, source in kept.sources.items()
        }
        height, width = kept.style_size
        small = images.resize(seen(self.e.recipe, self.e.inputs).styles[0].rgb, (height, width))
        self.data["sources"] = {"maps": maps, "width": width, "height": height, "data": picture(small)}
        return {"size": self.e.pastiche.shape[:2]}

    def checks(self) -> dict[str, Any]:
        settled = self.e.state == "settled"
        resolved = len(self.e.validation["resolved_pairs"]) if settled else None
        return {"found": self.e.validation["checks"], "state": self.e.state, "resolved": resolved}

    def quality(self) -> dict[str, Any]:
        """The finished picture, measured against its photograph and its style."""
        found = comparing.compare([self.e.folder], weights=self.weights, device="cpu")
        (row,) = found.rows
        rows = [(name, row.values[name], MEASURES[name]) for name in found.measures]
        why = list(dict.fromkeys(row.missing.values()))
        return {"rows": rows, "network": found.network, "missing": why, "notes": [*found.notes, *row.notes]}

    def reproduce(self) -> dict[str, Any]:
        e = self.e
        return {
            "command": reproduce.command(e) or reproduce.python(e),
            "recipe": to_toml(e.recipe.model_dump(mode="json")),
            "painter": e.recipe.network,
            "networks": e.facts.get("networks", []),
            "judge": self._judge(),
            "environment": e.facts["environment"],
            "methods": methods.paragraph(e),
            "bibtex": methods.bibtex(e),
        }

    def _judge(self) -> str | None:
        """The network that judged, where one did."""
        if self.e.kind == "explain":
            return ", ".join((self.e.settings.judge, *self.e.settings.others))
        return str(self.e.facts["judge"]) if self.e.kind == "ablate" else None


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        kinds: the folders whose page has it.
        make: what its template needs, which finds that as `s`; None leaves it out, and an `UnderpaintError` says on the page
            why there is nothing to show.
        template: in Jinja's language, escaped; None where `templates/NAME.html` has it.
    """

    kinds: tuple[Kind, ...]
    make: Callable[[Sections], dict[str, Any] | None]
    template: str | None = None


SECTIONS: Registry[Section] = Registry(
    "section",
    {
        "pastiche": Section(("stylize", "ablate", "explain"), Sections.pastiche),
        "verdict": Section(("explain",), Sections.verdict),
        "convergence": Section(("stylize", "explain"), Sections.convergence),
        "recompose": Section(("explain",), Sections.recompose),
        "cooperation": Section(("explain",), Sections.cooperation),
        "attributions": Section(("explain",), Sections.attributions),
        "likes": Section(("explain",), Sections.likes),
        "ablation": Section(("ablate", "explain"), Sections.ablation),
        "shapley": Section(("explain",), Sections.shapley),
        "spatial": Section(("explain",), Sections.spatial),
        "checks": Section(("explain",), Sections.checks),
        "quality": Section(("stylize", "explain"), Sections.quality),
        "reproduce": Section(("stylize", "ablate", "explain"), Sections.reproduce),
    },
)
"""By name, in the order of a page; those of other packages stand at its end."""
