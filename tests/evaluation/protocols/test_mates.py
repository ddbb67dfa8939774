"""Probes without a mate as every figure counts them, and who is asked of USF."""

from tests.evaluation.protocols.test_protocols import GALLERY, PROBES, evaluate


def test_the_table_of_views_counts_a_probe_without_a_mate_as_the_figure_does():
  stranger = (0, "c", "nm-05", "000")
  for probes, share in (([PROBES[0]], 100), ([PROBES[0], stranger], 50)):
    found = evaluate("casia_b", *GALLERY, *probes)
    assert found["per_view"]["NM"]["rank1"][0][1] == found["conditions"]["NM"]["rank1"] == share


def test_probes_that_lack_a_mate_in_some_view_are_counted_those_that_lack_all_among_them():
  lone = [(0, "c", "nm-05", "000"), (20, "d", "nm-01", "090"), (20, "d", "nm-05", "000"), (20, "d", "nm-05", "090")]
  found = evaluate("casia_b", *GALLERY, *PROBES[:2], *lone)["conditions"]["NM"]
  # c is nowhere; d's second probe meets view 000 alone, where d is not, its first view 090, where d is.
  assert (found["without_mate"], found["without_mate_somewhere"], found["gallery_subjects"]) == (2, 2, 3)


def test_usf_asks_for_grounds_and_shoes_seen_from_either_side():
  kinds = {"A": ("ga", "l"), "B": ("gb", "r"), "C": ("gb", "l"), "D": ("ca", "r"), "E": ("cb", "r"), "F": ("ca", "l"),
           "G": ("cb", "l")}
  gallery = [(0, "a", "ga", "r"), (10, "b", "ga", "r")]
  for asked, kind in kinds.items():
    found = evaluate("usf17", *gallery, *[(9 if name == asked else 1, "a", *k) for name, k in kinds.items()])
    assert [name for name, figures in found["conditions"].items() if figures["rank1"] == 0] == [asked], kind
