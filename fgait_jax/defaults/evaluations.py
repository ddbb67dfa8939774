"""Keys of evaluation: what all tasks share, and a section for each that has more."""

from ml_collections import ConfigDict

from fgait_jax.defaults.fine_tuning import fine_tune


def evaluation() -> ConfigDict:
  """The configuration of `run_eval.py`."""
  c = ConfigDict()
  c.task = "zero_shot"  # one of fgait_jax/evaluation/tasks
  c.seed = 0  # of bootstraps, probes and drawn examples
  c.checkpoint = ""  # a run's folder (its newest checkpoint), one step's, or one of weights; or "walkers-tiny"
  c.network = "teacher"  # "teacher" or "student"
  # "prediction", "projection", "pooled", "discriminant", "recognition" (a fine-tuned head's); "": the one fitted last.
  c.embedding = ""
  c.cache = ""  # folder that keeps embeddings by checkpoint and data; "" is <out>/features, "off" keeps none
  # Tasks "embed" and "identify": a key file, at least 32 random bytes; embeddings are turned by a secret rotation.
  c.salt = ""
  c.embeddings = ""  # task "score": .npz of embeddings [N, C, P], labels, types, views
  c.data_dir = "built"  # folder of built data sets
  c.dataset = "walkers"
  c.split = "test"
  c.protocol = "walkers"  # retrieval protocol; see fgait_jax/evaluation/protocols
  c.metric = "euclidean"  # "euclidean" or "cosine"; mean over parts
  # "none", or "condition", "view", "condition_view": take off each such group's mean ("camera-centred").
  c.centre_by = "none"
  c.mirror_views = ()  # patterns of views whose walks are flipped left to right first, such as "*-l" on KTH
  c.baselines = True  # also evaluate raw GEI, row-band GEI, the untrained network and chance
  c.controls = True  # task "zero_shot": also the network on shuffled, reversed and motionless walks
  c.max_frames = 720  # first frames of a sequence that are embedded
  c.batch_frames = 512  # frames embedded at a time, per device
  c.bootstrap = 1000  # bootstrap resamples (of subjects) for confidence intervals; 0: no intervals
  c.pictures = 6  # drawn examples of reconstructions and nearest neighbours; 0 draws none
  c.compilation_cache = "~/.cache/fgait_jax"  # folder of compiled programs; "" turns it off
  c.linear_probe = linear_probe()
  c.fine_tune = fine_tune()
  c.robustness = robustness()
  c.compare = compare()
  c.linear_maps = linear_maps()
  c.reconstruction = reconstruction()
  c.rerank = rerank()
  # Task "identify": each an .npz, as task "embed" writes it, or a folder of masks or a video, embedded by `checkpoint`.
  c.probes = ""  # the walks to identify
  c.gallery = ""  # the known walks
  c.validation = ""  # people outside the gallery, for the threshold; "" names everyone
  c.false_accept = 0.01  # share of unknown people's walks that the threshold accepts as somebody in the gallery
  c.top_k = 5  # gallery subjects named for each probe
  return c.lock()


def rerank() -> ConfigDict:
  """k-reciprocal re-ranking of protocol "hid", as its evaluator does it; see fgait_jax/evaluation/metrics/rerank.py."""
  c = ConfigDict()
  c.k1 = 6  # neighbours that must be mutual; fewer than there are probes and gallery walks
  c.k2 = 6  # neighbours averaged in query expansion
  c.weight = 0.3  # of the original distance; the rest is the Jaccard distance of neighbours
  return c


def linear_probe() -> ConfigDict:
  """The linear probe: multinomial logistic regression on frozen embeddings."""
  c = ConfigDict()
  c.target = "subject"  # "subject"; or "condition", "class" or the name of an attribute, learnt from other people
  c.train_conditions = ()  # conditions the probe learns from; () takes the protocol's gallery
  c.train_split = "train"  # of other targets than "subject"; it must hold other people than the split it is tested on
  # L2 penalties that are tried: penalty / 2 * |weights|^2 is added to the mean cross-entropy (nats) of embeddings that
  # are scaled, as a whole, to unit variance. The best on held-out walks is chosen for each representation, and the
  # probe fitted again on all walks.
  c.penalties = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
  c.validation_fraction = 0.2  # held out: of each subject's walks (subject), of the training subjects (attribute)
  c.iterations = 1000  # of L-BFGS, at most
  return c


def linear_maps() -> ConfigDict:
  """Linear maps of frozen embeddings, fitted in closed form; see fgait_jax/training/linear_maps.py."""
  c = ConfigDict()
  c.dataset = ""  # data set to fit on; "" takes the one that is evaluated
  c.train_split = "train"  # must hold other people than the split that is evaluated
  c.max_sequences = 0  # walks to fit on, of whole subjects spread evenly over the split; 0 takes all
  c.components = 800  # principal components that either map begins with; at most half as many as walks
  c.floor = 0.03  # of PCA whitening: share of the largest variance that is added to each
  c.shrinkages = (0.03, 0.1, 0.3, 0.6)  # of the discriminant's covariance; validation identities choose among them
  c.validation_fraction = 0.2  # of the training identities; the map that is tested is fitted on these too
  # A walk is not compared with its person's walks of the same "view" or "condition"; "protocol": as the protocol says.
  c.validate_across = "view"
  return c


def robustness() -> ConfigDict:
  """Corrupted silhouettes; see fgait_jax/evaluation/features/corruption.py."""
  c = ConfigDict()
  c.types = ()  # of corruption; () takes all 15
  c.severities = ()  # of 1 to 5; () takes all
  c.corrupt = "probe"  # "probe", "gallery" or "both"
  c.max_sequences = 0  # walks used, of whole subjects spread evenly over the split; 0 takes all
  return c


def reconstruction() -> ConfigDict:
  """Masked modelling: how much of a hidden body the network fills in."""
  c = ConfigDict()
  c.masked_fractions = (0.25, 0.5, 0.75)  # shares of the tokens that are hidden, each above 0 and below 1
  c.walks = 512  # clips, of walks drawn at random; 0 takes all
  return c


def compare() -> ConfigDict:
  """Two finished evaluations of the same walks."""
  c = ConfigDict()
  c.first = ""  # result file, or folder of results
  c.second = ""  # result file, or folder of results
  c.first_row = "model"  # row of the first's tables: "model", "untrained", "raw_gei", ...
  c.second_row = "model"
  c.centred = False  # the centred row of that name, where there is one (config.centre_by)
  c.conditions = ()  # those to compare, such as ("D", "E", "F", "G"); (): all that both have. Several have a mean, too
  c.resamples = 10000  # of subjects, for the interval and the permutation test
  return c
