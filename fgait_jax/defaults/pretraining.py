"""Keys of pretraining, and the sections that fine-tuning shares with it."""

from ml_collections import ConfigDict

from fgait_jax.mappings import entries


def pretrain() -> ConfigDict:
  """The configuration of `run_pretrain.py`."""
  config = ConfigDict()
  config.seed = 0  # of initialisation, sampling, augmentation and masking
  config.data = data()
  config.augment = augment()
  config.model = model()
  config.student = student()
  config.teacher = teacher()
  config.objectives = objectives()
  config.discriminant = discriminant()
  config.optim = optim()
  config.mesh = mesh()
  config.train = train()
  config.evals = evals("walkers")  # evaluations during training, by name: a `training_eval` each
  return config.lock()


def data() -> ConfigDict:
  c = ConfigDict()
  c.dir = "built"  # folder of built data sets, as `python -m data_prep.build --out` made it
  # What to pretrain on, by name: a `data_set` each, built in <dir>/<name>, or a crowd rendered<N> that needs no build.
  c.sets = data_sets("walkers")
  c.exponent = 1 / 3  # p(data set) is proportional to (factor * sequences) ** exponent
  c.mix = "per_batch"  # "per_batch": a batch holds one data set; "per_sequence": any. A queue holds all in both cases
  c.batch_size = 32  # sequences in the global batch, over all devices and hosts
  c.clips = 2  # clips per sequence: the first for the teacher, the second for the student
  c.clip_frames = 16  # frames of a clip, drawn without replacement and kept in order ...
  c.window_frames = 20  # ... from a random window of this many consecutive frames; shorter sequences are tiled
  c.threads = 4  # reader threads a process of training (or a worker)
  c.workers = 0  # reader processes a process of training; 0 reads in threads of it
  c.prefetch = 4  # batches read ahead at most, over all threads and workers; a worker needs four, threads in it more
  return c


def data_set() -> ConfigDict:
  """An entry of `data.sets`."""
  c = ConfigDict()
  c.factor = 1.0  # multiplies the set's size before the exponent (reference: GaitLU-1M 0.1)
  # Where a walk's second clip comes from: "sequence", the same recording (no label is used); "walk", any view of the
  # same subject and condition; "subject", any walk of the same person (uses identities, as known of synthetic people).
  c.positives = "sequence"
  c.split = "train"  # TFDS slices such as "train[:10%]" are understood
  return c


def data_sets(text: str) -> ConfigDict:
  """`data.sets` from "name[:factor[:positives[:split]]],...", the form of the command line."""
  return entries(text, lambda name: data_set(), ("factor", "positives", "split"))


def augment() -> ConfigDict:
  """The reference's recipe, one draw per clip (FoundationGait A3); a probability of 0 turns a step off."""
  c = ConfigDict()
  c.affine = 0.2  # probability of a random affine warp, corners moved by up to 9 pixels
  c.perspective = 0.2  # probability of a random perspective warp, corners moved by up to 9 pixels
  c.flip = 0.5  # probability of a left-right flip
  c.dilate = 0.2  # probability of dilating a band of rows
  c.blur = 0.2  # probability of blurring and binarising a band of rows
  c.rotate = 0.0  # probability of a rotation by up to 10 degrees (fine-tuning recipe)
  c.segmenter = 0.0  # probability of another segmenter's outline, pixel size and ground; not in the reference's recipe
  c.holes = 0.0  # probability of holes in the body, as segmenters leave them; not in the reference's recipe
  c.width = 44  # columns kept of 64, from the middle
  return c


def model() -> ConfigDict:
  c = ConfigDict()
  c.name = "transformer"  # a backbone of fgait_jax/models/backbones.py, such as "transformer" or "p3d"
  c.variant = "tiny"  # a named size of that model; see BACKBONE in its file, such as fgait_jax/models/transformer.py
  c.channels = 1  # channels of a frame: 1 for silhouettes
  c.pixels = "silhouettes"  # or "maps": labels, depths, pictures, all frames of several channels (docs/data.md)
  c.dtype = "float32"  # of activations; "bfloat16" on accelerators. Parameters and losses stay float32
  c.remat = "none"  # rematerialisation: "none", "dots" (keeps matrix products) or "full" (keeps block inputs only)
  c.stem = "conv"  # first layers: "conv", or for the transformer "tubelet" (a linear tokenizer, for comparison)
  # Frames that attend to each other: a longer walk is cut into windows of so many. Networks of convolutions have none.
  c.attention_frames = 16
  c.temporal_pooling = "mean"  # over the slots of a walk: "mean", "max" (the reference's) or "mean_max", their sum
  c.body_heads = 8  # projections of all 31 parts together, beside the projection of each part; the reference has 0
  c.facing = True  # walks are centred and mirrored to face one way first (models/facing.py); the reference does neither
  c.discriminant = 0  # output features of the network's last linear map (section discriminant); 0: none
  return c


def student() -> ConfigDict:
  """What the student sees of its clip."""
  c = ConfigDict()
  c.crop_list = (8, 4, 2, 1)  # the batch is cut into as many groups; group i sees strips of 64 / P_i rows
  # Share of tokens that are masked: of all groups, or one for each; 0 masks none. objectives.reconstruction needs some.
  c.masked_fractions = (0.5,)
  return c


def teacher() -> ConfigDict:
  """The moving average of the student."""
  c = ConfigDict()
  c.ema_start = 0.99  # momentum at step 0; rises along a cosine to 1 at the last step
  return c


def objectives() -> ConfigDict:
  """What pretraining minimises, the sum of weight x loss; see fgait_jax/objectives. A weight of 0 turns one off."""
  c = ConfigDict()
  c.contrastive = ConfigDict()
  c.contrastive.weight = 1.0  # times InfoNCE of each part, nats
  c.contrastive.temperature = 1 / 16  # cosine similarities are divided by it
  c.contrastive.label_smoothing = 0.1  # of the targets
  c.contrastive.queue = 0  # past projections of the teacher to compare with, a multiple of data.batch_size; 0: none
  c.reconstruction = ConfigDict()
  c.reconstruction.weight = 1.0  # times binary cross-entropy on the masked tubelets, nats per pixel
  return c


def discriminant() -> ConfigDict:
  """The linear discriminant that is fitted in closed form after the last step, if model.discriminant is above 0: the
  directions with the largest variance between groups (of positives) relative to that within groups."""
  c = ConfigDict()
  # Data sets to fit it on, in equal parts, by name: a `discriminant_set` each. None: batches after the run's last.
  c.sets = discriminant_sets("")
  c.walks = 4096  # clips to fit it on
  c.frames = 32  # consecutive frames of each
  c.step = 1  # of these, every so many-th is embedded
  c.components = 400  # principal components it begins with
  c.shrinkage = 0.3  # of the covariance within groups towards a multiple of the identity, 0 to 1
  c.segmenter = 0.0  # probability of another segmenter in its clips, where above config.augment.segmenter
  c.holes = 0.0  # probability of holes in its clips, where above config.augment.holes
  return c


def discriminant_set() -> ConfigDict:
  """An entry of `discriminant.sets`: one of `data.sets` without a factor."""
  c = data_set()
  del c.factor
  return c


def discriminant_sets(text: str) -> ConfigDict:
  """`discriminant.sets` from "name[:positives[:split]],...", the form of the command line."""
  return entries(text, lambda name: discriminant_set(), ("positives", "split"))


def optim() -> ConfigDict:
  c = ConfigDict()
  c.name = "adamw"  # "adamw" or "sgd"
  c.peak_rate = 1e-3  # learning rate after warm-up
  c.final_rate = 1e-5  # learning rate at the last step of a cosine schedule
  c.warmup_steps = 20  # linear from 0
  c.schedule = "cosine"  # "cosine", or "step": multiply by `step_factor` at each of `step_at`
  c.step_at = ()  # steps at which the step schedule drops
  c.step_factor = 0.1  # factor of the rate at each drop
  c.momentum = 0.9  # SGD momentum
  c.beta1 = 0.9  # AdamW
  c.beta2 = 0.95  # AdamW
  c.weight_decay = 0.05  # decoupled for AdamW; added to the gradient for SGD, as torch does
  c.clip_norm = 1.0  # global gradient norm above which gradients are scaled down; 0 turns it off
  # (pattern over the parameter path, weight-decay factor, rate factor): every parameter must match exactly one.
  c.rules = (
    (r".*/(bias|scale)|.*position.*|.*token", 0.0, 1.0),
    (r".*/kernel", 1.0, 1.0),
  )
  return c


def mesh() -> ConfigDict:
  c = ConfigDict()
  c.data = -1  # devices along the batch; -1 takes all that are left
  c.fsdp = 1  # devices over which parameters, their optimizer state and the batch are sharded
  c.tensor = 1  # devices over which heads and hidden features are sharded
  return c


def train() -> ConfigDict:
  c = ConfigDict()
  c.steps = 1000  # length of the run, and of its schedules
  c.start_from = ""  # run, or one of its checkpoints, whose weights initialise a new --workdir; "": random weights
  c.stop_at = -1  # stop (and save) at this step without changing the schedules; -1 runs to the end
  c.log_every = 10  # steps between metric lines
  c.save_every = 500  # steps between checkpoints
  c.keep = 3  # newest checkpoints kept
  c.keep_every = 0  # steps; checkpoints at multiples of it are kept too, a multiple of save_every; 0: none
  c.keep_best = ""  # logged evaluation, as "walkers/mean/rank1", whose highest ("-...": lowest) is kept too; "": none
  c.compilation_cache = "~/.cache/fgait_jax"  # folder of compiled programs; "" turns it off
  c.profile_at = -1  # step at which a five-step profiler trace starts; -1 never
  mishaps(c)
  return c


def mishaps(c: ConfigDict) -> None:
  """What a run, of pretraining or of fine-tuning, does when something goes wrong."""
  c.on_nonfinite = "stop"  # before a batch whose loss or gradient is no number, or whose loss is a spike; or "skip" it
  c.skip_at_most = 10  # batches in a row that are skipped; the next one stops the run
  c.spike = 0.0  # a loss above this times the median of the last 64 is a spike; 0: none is
  c.on_damage = "stop"  # where the newest checkpoint is damaged: "stop" and say so, or go on from the "previous" one
  c.watchdog = 30.0  # minutes without a step after which the stacks of all threads are printed; 0: never
  c.watchdog_stops = False  # then also save and end: at once where the data hang, else when what hangs comes back


def training_eval(name: str) -> ConfigDict:
  """The entry `name` of `evals`; its metrics are logged as <name>/..."""
  c = ConfigDict()
  c.task = "zero_shot"  # "zero_shot" (retrieval) is the only task that runs during training
  c.dataset = name  # built in data.dir
  c.split = "test"  # split of it
  c.protocol = name  # see fgait_jax/evaluation/protocols
  c.every = 500  # steps between evaluations; 0 turns it off
  c.max_sequences = 512  # sequences embedded, of whole subjects spread evenly over the split; 0 takes all
  c.max_frames = 720  # first frames of a sequence that are embedded
  c.batch_frames = 512  # frames embedded at a time, per device
  c.metric = "euclidean"  # "euclidean" or "cosine"; mean over parts
  c.mirror_views = ()  # patterns of views whose walks are flipped left to right first, such as "*-l" on KTH
  return c


def evals(text: str) -> ConfigDict:
  """`evals` from "name[:every[:protocol]],...", the form of the command line; data set and protocol have the name."""
  return entries(text, training_eval, ("every", "protocol"))
