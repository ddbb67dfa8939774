"""The model card of a folder of weights: what was learnt from what, under which terms, how well it does and where not.

Made from what is recorded alone: the checkpoint's own account, and result files of these very weights.
"""

import json
from collections.abc import Iterable, Sequence

from fgait_jax.data.schema import SILHOUETTES
from fgait_jax.evaluation import columns, provenance
from fgait_jax.evaluation.report import export, layout
from fgait_jax.evaluation.results import CHANCE, KINDS, MODEL, Result
from fgait_jax.training.pretrained import Pretrained
from fgait_jax.training.state import added, count_parameters

FIGURES = "## Figures"
_NO_FIGURES = "None are recorded yet. Evaluate these weights, then publish them again:"


def has_figures(text: str) -> bool:
  """Whether a card holds a table of figures."""
  section = text.partition(f"\n{FIGURES}\n")[2].partition("\n## ")[0]
  return "\n| " in section


def write(network: Pretrained, *, name: str, results: Sequence[Result], licence: str) -> str:
  """The card of `network`, published as `name` under `licence` ("": not stated), with the tables of `results`."""
  sections = [
    _front_matter(licence), f"# {name}\n", _what(network), _use(name), _learnt(network), _failures(results),
    _limits(network, licence), _citation(network), _figures(network, results),
  ]
  return "\n".join(sections)


def _front_matter(licence: str) -> str:
  tags = ["gait-recognition", "silhouettes", "person-re-identification", "jax", "flax"]
  fields = {"library_name": "fgait_jax", "license": licence.lower() or "other", "tags": tags}
  return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in fields.items()), "---", ""])


def _what(network: Pretrained) -> str:
  model = network.config.model
  numbers = count_parameters((network.params, network.stats))
  without = (" It is published without the heads that only pretraining needs: pretraining that begins with it begins"
             " these anew.")
  if "projector" not in network.params:
    without += (" Fine-tuning reads its pooled parts: `config.fine_tune.reads=discriminant`, as configs/fine_tune.py"
                " has it for walkers and kth, or `pooled`.")
  steps = f"{network.step:,} steps of training"
  if network.fine_tune:
    before = "not recorded" if network.pretrained is None else f"{network.pretrained:,}"
    steps = f"steps of pretraining: {before}, of fine-tuning after it: {network.step:,}"
  lines = [
    f"A gait network of fgait_jax: {model.name} {model.variant}, {numbers:,} parameters and statistics,"
    f" {steps} (weights {network.identity}, code {network.code or 'not recorded'}).",
    f"It takes the {model.pixels} of a walk, uint8 [frames, 64, 64 or 44] of {model.channels} channel(s)"
    f"{', 0 background and 255 body' * (model.pixels == SILHOUETTES)}, and gives its `{network.embedding}` embedding:"
    " near for walks of one person, far for those of two."
    + (without if added(network.config)["without_heads"] else ""),
  ]
  return "\n".join(lines) + "\n"


def _use(name: str) -> str:
  return f"""## Use

```python
import fgait_jax

model = fgait_jax.load("{name}")  # this folder, or where it lies on the hub
known = model.embed("masks/known")  # <person>/<type>/<view>/*.png, any size
new = model.embed("masks/new")
print(known.subjects[model.distance(new, known).argmin(axis=1)])  # the nearest person of each new walk
```
"""


def _learnt(network: Pretrained) -> str:
  datasets, label_use, _ = provenance.learnt_from(network)
  lines = ["## Learnt from", "", f"{', '.join(datasets)}, {label_use}.", "",
           "| data | people | walks | kind | licence |", "|---|---:|---:|---|---|"]
  for name in network.data:
    facts = network.sources.get(name, {})
    cells = [name, facts.get("subjects", "–"), facts.get("sequences", "–"),
             KINDS.get(kind := facts.get("kind", ""), kind) or "not recorded", facts.get("licence") or "not recorded"]
    lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
  return "\n".join(lines) + "\n"


def _figures(network: Pretrained, results: Sequence[Result]) -> str:
  if not results:
    command = "python run_eval.py --config=configs/zero_shot.py:DATA --config.checkpoint=RUN --out=RUN/results"
    return f"{FIGURES}\n\n{_NO_FIGURES}\n\n```\n{command}\n```\n"
  head = ("Each table says below it what data it rests on, and has simple baselines beside the network. In brackets:"
          " 95 % intervals.")
  if before := [result.title for result in results if result.checkpoint.identity != network.identity]:
    head += f" Measured before the weights were rounded to bfloat16: {', '.join(before)}."
  return "\n".join([FIGURES, "", head, "", *(export.markdown(result, level=3) for result in results)])


def _failures(results: Sequence[Result]) -> str:
  lines = ["## Where it fails", ""]
  for result in results:
    lines += [f"- {line}" for line in (*_behind(result), *_weakest(result), *_corrupted(result))]
  measured = {result.data.kind for result in results}
  if results and not measured & {"real", "real motion, rendered"}:
    lines.append("- It was not measured on real people.")
  if len(lines) == 2:
    lines.append("Not measured.")
  return "\n".join(lines) + "\n"


def _behind(result: Result) -> Iterable[str]:
  """Of the first column, and of AUC: the conditions in which a baseline does better, each with the best of them."""
  for place, column in enumerate(result.columns):
    if not column.better or (place and column.key != columns.AUC.key):
      continue
    best = min if column.better == "lower" else max
    for centring in layout.centrings(result):
      ahead = []
      for section in layout.sections(result, centring):
        shown = {line: float(line.cells[place].text) for line in section.lines if line.cells[place].value is not None}
        own = next((line for line in shown if line.name == MODEL), None)
        rivals = [line for line in shown if line.name not in (MODEL, CHANCE) and not line.control]
        if own and rivals:
          rival = best(rivals, key=shown.get)
          if shown[own] != best(shown[own], shown[rival]):
            ahead.append(f"{section.name} {own.cells[place].text} ({rival.title}: {rival.cells[place].text})")
      if ahead:
        yield f"{layout.title_of(result, centring)}, {column.title}, behind a baseline in {'; '.join(ahead)}"


def _weakest(result: Result) -> Iterable[str]:
  """The condition with the worst first figure, where there are several."""
  if not result.columns or not result.columns[0].better:
    return
  found = [(line.cells[0].value, section.name, line.cells[0].text) for section in layout.sections(result)
           for line in section.lines if line.name == MODEL and line.cells and line.cells[0].value is not None]
  if len(found) > 1:
    _, name, text = (max if result.columns[0].better == "lower" else min)(found)
    yield f"{result.title}: weakest in {name}, {result.columns[0].title} {text}"


def _corrupted(result: Result) -> Iterable[str]:
  """The corruption that hurts most."""
  for row in (row for row in result.rows if row.name == MODEL):
    hardest = max(result.severities, default=0)
    place = [*result.severities, 0].index(hardest)
    ends = {name: values[place] for name, values in row.robustness.items() if values and values[place] is not None}
    if ends:
      worst = min(ends, key=ends.get)
      yield f"{result.title}: worst under {worst}, rank-1 {ends[worst]:.1f} % at severity {hardest}"


def _limits(network: Pretrained, licence: str) -> str:
  kinds = {network.sources.get(name, {}).get("kind", "") for name in network.data}
  people = "The terms of the data above bind the weights too, as far as they reach."
  if kinds == {"synthetic"} and not provenance.imported(network):
    people = "No recording of a real person was learnt from."
  stated = f"The weights are under {licence}." if licence else "No licence of the weights is stated."
  return ("## Terms and people\n\n" + f"{stated} {people} `config.json` lists the identifiers of the people learnt"
          " from, so that nobody is tested on unnoticed. Gait identifies people: use it on those who agreed.\n")


def _citation(network: Pretrained) -> str:
  cited = [f"- {facts['citation']}" for facts in network.sources.values() if facts.get("citation")]
  lines = ["## Citation", "", "- fgait_jax; it builds on the method of FoundationGait, arXiv 2512.00691"]
  return "\n".join([*lines, *dict.fromkeys(cited)]) + "\n"
