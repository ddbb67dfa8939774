"""Keys of supervised fine-tuning."""

from ml_collections import ConfigDict

from fgait_jax.defaults.pretraining import augment, mishaps, optim


def fine_tune() -> ConfigDict:
  """Supervised fine-tuning: encoder and projector under a new head, chosen on held-out training identities."""
  c = ConfigDict()
  c.target = "subject"  # "subject", "condition", "class" (those of the protocol), or the name of an attribute
  c.train_split = "train"  # must hold other people than the split that is evaluated
  c.validation_fraction = 0.2  # of its identities, held out to choose rate and step; 0 keeps the last step
  c.validate_every = 50  # steps between validations
  # subject: a walk is not compared with its person's walks of the same "view" or "condition"; "protocol": as that says
  c.validate_across = "view"
  c.patience = 0  # validations without improvement after which a run stops; 0 runs to the end
  c.refit = False  # train once more, on all training identities, at the rate and to the step that were chosen
  c.rates = (1.0,)  # factors of the whole schedule that are tried
  # What the head reads: "projection", each part at unit length (FoundationGait), or "pooled", the parts as they are,
  # without projector and predictor (DeepGaitV2, GaitBase, GaitSet, SwinGait), or all of these under a "discriminant"
  # that begins as the training walks' own (subject).
  c.reads = "projection"
  c.components = 800  # of reads="discriminant": principal components to seek it in, half as many as walks at most
  c.shrinkage = 0.1  # of reads="discriminant": share of the mean variance in its covariance within people
  # Of reads="discriminant": every direction counts as if it told people apart by prior / people, relative to how much
  # one of them varies; 0 keeps one direction fewer than there are people.
  c.prior = 10.0
  c.method = "full"  # "full", "lora" and "prompt" (encoder and projector frozen but for these), or "head"
  c.rank = 8  # of low-rank updates
  c.lora_scale = 1.0  # times A B, added to a kernel
  c.prompt_tokens = 8  # learned tokens beside every window of a transformer; 0 with a p3d network
  c.prompt_pixels = 0  # pixels of a learned border around every frame; for any network
  c.statistics = "frozen"  # encoder's and projector's batch statistics: running ones, "frozen", or each "batch"'s own
  c.features = 256  # channels of a part's embedding (subject); directions of a "discriminant" at most
  c.mix = "per_subject"  # "per_subject": P x K sequences; "per_batch": any, in shuffled epochs
  c.subjects = 8  # P, subjects of a batch
  c.per_subject = 4  # K, sequences of each, over all devices
  c.clip_frames = 16  # frames of a clip, as in pretraining
  c.window_frames = 20  # consecutive frames it is drawn from
  c.crop_list = (2, 1)  # as student.crop_list; in evaluation, bodies are not cut
  c.objectives = ConfigDict()  # the loss is the sum of weight x loss; a weight of 0 turns one off
  c.objectives.triplet = ConfigDict()
  c.objectives.triplet.weight = 1.0  # times the batch-all triplet loss; without effect unless the target is "subject"
  c.objectives.triplet.margin = 0.2  # Euclidean distance of a part's embeddings
  c.objectives.cross_entropy = ConfigDict()
  c.objectives.cross_entropy.weight = 1.0  # times the cross-entropy, nats
  c.objectives.cross_entropy.scale = 16.0  # times the cosines that are its logits
  c.objectives.cross_entropy.label_smoothing = 0.1  # of its targets
  c.steps = 300  # length of the schedule
  c.log_every = 10  # steps between console lines
  mishaps(c)
  # A layer's rate is multiplied by this to the power of the layers above it: transformer blocks, P3D stages.
  c.layer_decay = 1.0
  c.scratch = False  # also train the untrained network the same way, at the best rate and step for it
  c.threads = 4  # reader threads a host (or a worker)
  c.workers = 0  # reader processes a host; 0 reads in threads of the program
  c.prefetch = 4  # batches read ahead at most, over all threads and workers; a worker needs four, threads in it more
  c.augment = augment()
  c.augment.affine = c.augment.dilate = c.augment.blur = 0.0  # the reference's fine-tuning recipe
  c.augment.perspective = c.augment.flip = c.augment.rotate = 0.2
  c.optim = optim()
  c.optim.weight_decay = 0.0  # if above 0, it applies to biases too, as in the reference
  # A rate factor of 0 freezes: no gradient, no decay, not in the optimizer.
  c.optim.rules = (
    (r"encoder/(stem|stem_norm|stage[12])/.*", 1.0, 0.0),  # a P3D network, as in the reference
    (r"encoder/stage3/.*", 1.0, 0.01),
    (r"encoder/stage4/.*", 1.0, 0.05),
    (r"encoder/(?!(stem|stem_norm|stage[1-4])/|prompt_tokens$).*", 1.0, 0.1),  # any other
    (r"projector/.*", 1.0, 0.1),
    (r"(head|border|lora)/.*|encoder/prompt_tokens", 1.0, 1.0),
  )
  return c
