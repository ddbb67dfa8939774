"""The columns of result tables: what a figure is called, how it is shown, and which way is better. Per cent, unless a
title says otherwise."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
  """`key` names the figure in a result file; `interval`: it has one; `better`: "higher", "lower", or "" of neither."""

  key: str
  title: str
  interval: bool = False
  better: str = "higher"
  digits: int = 1

  def __post_init__(self):
    if self.better not in ("higher", "lower", "") or not 0 <= self.digits <= 15:
      digits = f"{self.digits}" if abs(self.digits) < 1000 else "many"
      raise ValueError(f"better {self.better[:20]!r} and {digits} digits; expected higher, lower or '', and 0 to 15")

  @property
  def percent(self) -> bool:
    """Whether its title says per cent: such a figure is drawn as a bar, too."""
    return "%" in self.title


RANK1 = Column(key="rank1", title="rank-1 %", interval=True)
RANK5 = Column(key="rank5", title="rank-5 %")
MAP = Column(key="map", title="mAP %")
MINP = Column(key="minp", title="mINP %")
AUC = Column(key="auc", title="AUC %", interval=True)
EER = Column(key="eer", title="EER %", better="lower")
RETRIEVAL = (RANK1, RANK5, MAP, MINP, AUC, EER)

ACCURACY = Column(key="accuracy", title="accuracy %", interval=True)
TOP5 = Column(key="top5", title="top-5 %")
BALANCED_ACCURACY = Column(key="balanced_accuracy", title="balanced %")
MACRO_F1 = Column(key="macro_f1", title="macro F1 %")
PRECISION = Column(key="precision", title="precision %")
RECALL = Column(key="recall", title="recall %")
F1 = Column(key="f1", title="F1 %")
CLASSES = (ACCURACY, PRECISION, RECALL, F1)
TWO_CLASSES = (*CLASSES, AUC, EER)
NAMES = (ACCURACY, TOP5, BALANCED_ACCURACY, MACRO_F1)  # of a layer that names one of many

OUTCOMES = (RANK1, MAP, ACCURACY)  # that each subject has a mean of: what paired tests compare
