"""Line charts as inline SVG that takes its colours and letters from the page, so that one drawing serves light, dark
and print.

matplotlib draws with stand-in colours; each is then replaced by a CSS variable of page.css.
"""

import html
import io
import re
from collections.abc import Sequence

import matplotlib
import matplotlib.figure
import matplotlib.ticker

SERIES = 6  # colours --s0 .. --s5 of page.css
_INK, _RULE, _CHANCE = "#fe0100", "#fe0200", "#fe0300"
_LINES = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
_RC = {"svg.fonttype": "none", "svg.hashsalt": "report", "text.parse_math": False, "axes.unicode_minus": False,
       "font.size": 9, "path.simplify": True}


def place_of(names: Sequence[str]) -> dict[str, int]:
  """The colour of each row name: the same in every chart of a result. "chance" has -1, grey and dashed."""
  others = [name for name in dict.fromkeys(names) if name != "chance"]
  return {name: place % SERIES for place, name in enumerate(others)} | {"chance": -1}


def panel(curves: Sequence[tuple[int, Sequence[float], Sequence[float]]], *, label: str, x_title: str, y_title: str,
          y_range: tuple[float, float] | None = None, x_ticks: Sequence[float] | None = None, log: bool = False,
          marks: bool = False) -> str:
  """One chart, as text "<svg ...>": `curves` are (colour of `place_of`, x, y); `label` is read aloud for it."""
  with matplotlib.rc_context(_RC):
    figure = matplotlib.figure.Figure(figsize=(3.5, 2.35))
    figure.patch.set_alpha(0)
    axis = figure.subplots()
    axis.patch.set_alpha(0)
    for place, x, y in reversed(curves):  # the first row lies on top
      colour = _CHANCE if place < 0 else f"#fe04{place:02x}"
      axis.plot(x, y, color=colour, linestyle=(0, (2, 2)) if place < 0 else _LINES[place], marker="o" if marks or
                len(x) == 1 else "", markersize=3.5, linewidth=2.2 if place == 0 else 1.5, clip_on=False,
                solid_capstyle="round")
    if log:
      axis.set_yscale("log")
      axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5), numticks=6))
      axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # the default writes mathematics, which is off
      axis.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    if y_range is not None:
      axis.set_ylim(*y_range)
    if x_ticks is not None:
      axis.set_xticks(x_ticks)
    else:
      axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
    axis.set_xlabel(x_title, color=_INK)
    axis.set_title(y_title, color=_INK, fontsize=9, loc="left", pad=6)
    axis.tick_params(length=0, colors=_INK, which="both")
    axis.grid(axis="y", color=_RULE, linewidth=0.7)
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
      spine.set_visible(side == "bottom")
      spine.set_color(_RULE)
    figure.subplots_adjust(left=0.15, right=0.97, top=0.87, bottom=0.2)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True)
  return _inline(stream.getvalue(), label)


def _inline(text: str, label: str) -> str:
  """The drawing without header, size and metadata, in the colours of the page."""
  text = text[text.index("<svg") :]
  text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
  box = re.search(r'viewBox="[-\d. ]+"', text).group()
  head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{html.escape(label)}">'
  text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1, flags=re.DOTALL)  # a label may hold a backslash
  text = text.replace(_INK, "currentColor").replace(_RULE, "var(--rule)").replace(_CHANCE, "var(--chance)")
  return re.sub(r"#fe04(\d\d)", lambda m: f"var(--s{int(m[1])})", text)
