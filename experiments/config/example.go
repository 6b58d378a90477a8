package config

// JobExample is a complete job file; `credence job example` prints it and the
// demonstration runs it.
const JobExample = `# What a federation is to train, and what its owner pays for it.
# Submit it: credence job submit job.yaml --dir OWNER

# A name that no other job of the federation has.
job: screening

# The data that a node must have: the path of a schema, from this file's folder.
schema: schema.yaml
` + jobBody

// jobBody is what a job and an experiment say alike.
const jobBody = `
# The model: linear, logistic, softmax, mlp (with hidden: [64, 32] and
# activation: relu, tanh or sigmoid) or cnn. Its inputs and classes follow from
# the schema.
model:
  kind: logistic

# What each node does in a round: optimizer sgd, momentum or adam; either epochs
# or steps; batch_size 0 means all rows. The learning rate may follow the rounds
# (schedule: {kind: cosine, warmup: 2}), and epochs may end early
# (early_stop: {patience: 2}).
training:
  optimizer: sgd
  learning_rate: 0.1
  epochs: 2
  batch_size: 16

# How the mean of the updates becomes the next model, weighted by samples or
# uniform: fedavg, fedsgd, fedprox, fedavgm, fedadagrad, fedyogi, fedadam,
# scaffold, fednova, cyclic, fedper or ditto; their settings and robust groups
# are in docs/strategies.md. (Default: as here.)
strategy:
  name: fedavg
  server_learning_rate: 1
  weighting: samples

# Bounds on an update: of each value, and of the whole in L2 norm (0: none).
# The quantiser's range is the first. (Default: as here.)
clip:
  value: 1
  norm: 0

# Differential privacy: noise that every node adds before it encrypts. It needs
# clip.norm. Either epsilon (what all rounds together may spend) or
# noise_multiplier; delta; and how many nodes of a sum are honest: min_honest,
# or honest_fraction of the minimum cohort. (Default: none, epsilon: infinity.)
# privacy:
#   epsilon: 8
#   delta: 1e-5
#   min_honest: 2

rounds: 12           # models to publish
round_deadline: 2m   # for the updates of one round (default: 5m)
cohort_size: 0       # nodes sampled for a round; 0: all that joined
min_cohort: 0        # fewest updates in a sum; 0: the federation's minimum
proof_level: ""      # none, bounded or trained; "": the federation's minimum
sample_cap: 0        # most rows that a node's weight and pay count; 0: no cap
step_cap: 0          # most optimiser steps that its pay counts; 0: no cap
seed: 5              # public: initial model, cohorts, order of the rows

# At proof_level trained every update is proven to be what these steps give on
# the rows that a node committed to when it joined: plain sgd, and linear,
# logistic, softmax, or an mlp with one hidden layer of relu. It is not proven
# that the data are true, that labels were not flipped or rows repeated before
# the commitment, or that a node has no other data.
# trained:
#   rows: 256            # most training rows of a node; proofs cost by it
#   feature_bits: 14     # features, normalised, are within 2^(feature_bits-9)
#   clip_features: false # true: set features beyond that to its end
#   steps_per_proof: 0   # cut long trainings into proofs of so many steps
#   require:             # what a node proves of its rows before it joins
#     - {column: mean radius, min: 0, mean_max: 30, missing_max: 0.1}
#   min_class_rows: {malignant: 5}

# Credits put into escrow, and their division in parts per thousand. What is
# left at the end comes back. (Default of the rates: as here.)
budget: 1200
rates:
  work: 700
  timeliness: 100
  committee: 150
  operator: 50
  training: 0        # for proven training; proof_level trained only
`

// Example is a complete experiment; `credence experiment init` writes it.
const Example = `# An experiment: what to train, on which data, and what to vary.
# Run it: credence experiment run FILE
# The same file is a job: credence job submit FILE --dir OWNER leaves aside
# data, partition, attacks and simulation; repeats, seeds and sweep it refuses.

# The name of the run, and of the job in a federation.
job: screening

# Rows: set: breast-cancer or digits, which come with the program, or a file of
# your own with the schema that describes it:
#   schema: schema.yaml
#   data: {file: rows.csv}
data:
  set: breast-cancer

# How the training rows are divided among virtual clients: method
#   iid        shuffled and dealt evenly
#   dirichlet  label skew: alpha (0.1 is very uneven), min_rows
#   quantity   sizes differ: alpha, min_rows
#   labels     each client has rows of few classes: labels_each
#   column     one client for each value of a column: column (files, femnist)
# held_out: server keeps the test rows (default); clients deals them to these.
# weak: {fraction: 0.2, max_shards: 1}: clients that train a part of a model.
# seed: of the division; default: that of the repeat.
partition:
  method: dirichlet
  clients: 10
  alpha: 0.5
  min_rows: 10
` + jobBody + `
# Train several times, with seed, seed+1, ...; or list them: seeds: [1, 2, 3].
repeats: 3

# Every combination of these values is trained with every seed. A key names a
# place in this file; its values are a list, or have names: {mild: 1, wild: 9}.
# The key settings varies several places together:
#   settings: {open: {clip.norm: 0}, held: {clip.norm: 1, proof_level: bounded}}
# Remove it to train once.
sweep:
  partition.alpha: [0.1, 100]
  training.learning_rate: [0.05, 0.1]

# Dishonest clients, drawn by the seed: kind label-flip, sign-flip, scaling,
# alie, backdoor or free-rider; fraction of the clients. Example:
#   attacks:
#     - {kind: sign-flip, fraction: 0.2, scale: 5}

# Attacks on privacy, for the report: what is learnt of a client's rows from its
# update in the clear, from the sum that is opened, and from that sum with noise
# (that of privacy, or else of noise_multiplier and delta). Needs clip.norm.
# demonstrations:
#   inversion: {trials: 20, rows: 1, pictures: 6} # reads rows out of updates
#   membership: {targets: 40, runs: 6, shadows: 24} # tells who was trained on
#   noise_multiplier: 1

# How clients are simulated: fidelity plain adds up the integers that
# ciphertexts would carry; encrypted makes ciphertexts and opens sums by a
# committee; attested also proves (with proof_level: bounded). All give the same
# models.
simulation:
  fidelity: plain
  suite: rlwe4096-d1-v1
  workers: 0             # clients at a time; 0: one a processor
  evaluate_every: 1      # rounds between evaluations on the test rows
  checkpoint_every: 0    # rounds between checkpoints; 0: about once a second
  on_divergence: stop    # or decline: go on without a client that diverged
`
