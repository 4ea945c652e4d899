"""Every file, column and metric name of the project, one line each.

Names shared by two modules are defined here, so that each is changed in one place.
"""

# --- FEATURES and LATENTS: columns -------------------------------------------------------------------------------
ID = "id"  # string, unique
FEATURES = "features"  # fixed-size list of float32, one vector of width D per row
LABEL = "label"  # optional string
SEQUENCE = "sequence"  # in FEATURES written by `embed`: the embedded residues
DESCRIPTION = "description"  # of FEATURES from FASTA: the header after the id
SITES = "_sites"  # while `embed` works: the positions of a protein's sites, from 1
LATENT = "z"  # the posterior mean, or a draw from the posterior
AXES = "axes"  # the latents turned and scaled to what they explain of the features
DECODED = "decoded"  # the reconstruction of the features from z: D numbers, in units of the features
LOGVAR = "logvar"  # the logarithm of the posterior variance
RECON_ERROR = "recon_error"  # squared error of a protein, summed over its D features

PROVENANCE_KEY = b"resvae_ray"  # key in the Parquet metadata; its value is JSON
ROWS_HASH_KEY = b"resvae_ray_rows"  # the same, of a DATASET's files: a hash of the ids and one of the features

# --- DATASET -----------------------------------------------------------------------------------------------------
DATASET_FILE = "dataset.json"
TRAIN = "train"
VAL = "val"
MEMBERSHIP_FILE = "_membership"  # while a Ray job splits: for each row of FEATURES, a byte that says its side

# --- RUN ---------------------------------------------------------------------------------------------------------
RUN_FILE = "run.json"  # resolved configuration, seeds, versions, hardware, dataset; written before anything starts
SEARCH_FILE = "search.toml"  # the resolved configuration again, as `--config` takes it
JOURNAL_FILE = "study.journal"  # Optuna's journal storage: the record of what was proposed and what became of it
EPOCHS_FILE = "epochs.jsonl"  # a line per training and epoch, in the order of arrival; a later one replaces an earlier
LOCK_FILE = "run.lock"  # held by the one process that may write
TUNE_FOLDER = "tune"  # Ray's own files and TensorBoard's
PROJECTOR_FOLDER = "projector_trial_{number:04d}"  # below TUNE_FOLDER: the exported model's latents, for TensorBoard
TRIALS_FOLDER = "trials"  # one folder a trial: its weights and, if it failed, why
TRIAL_FOLDER = "{number:04d}"
FINALISTS_FOLDER = "finalists"  # one folder a retraining of a finalist
FINALIST_FOLDER = "{number:04d}-{repeat}"
ENOUGH = "enough_trials"  # attribute of the study: why a search with `--trials auto` has ended
CHOICE_FILE = "choice.json"  # in FINALISTS_FOLDER: which finalist was chosen last
RESULT_FILE = "result.json"  # in a finalist's folder: what the retraining came to; it has ended when this is there
TRIALS_CSV = "trials.csv"
TRIALS_PARQUET = "trials.parquet"
BEST_CSV = "best.csv"  # the result table of the method's paper
MODEL_FOLDER = "model"
REPORT_FOLDER = "report"
REPORT_FILE = "report.html"
PLOTS_FOLDER = "figures"  # beside it: each figure of the report as PNG and SVG

BEST_FILES = "best-{epoch:04d}.safetensors"  # in a trial's folder: the weights of its best epoch
RESUME_FILE = "resume.safetensors"  # in a trial's folder: all that its next epoch needs
ERROR_FILE = "error.txt"  # in a trial's folder: why it failed, the reason in the last line

# --- MODEL -------------------------------------------------------------------------------------------------------
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
ONNX_FILE = "model.onnx"  # on demand: features to the posterior mean, for onnxruntime
TORCH_EXPORT_FILE = "model.pt2"  # on demand: the same, for torch.export.load

# --- LATENTS -----------------------------------------------------------------------------------------------------
ENCODING_FILE = "_encoding.json"  # which model and features a folder of LATENTS comes from
AXES_FILE = "_axes.json"  # in a folder of LATENTS: the axes that all its files are along
SKIPPED_FILE = "{latents}.skipped.json"  # beside LATENTS: the files that could not be read, and why

# --- in the folder of a whole flow, which `run` makes --------------------------------------------------------------
FLOW_FILE = "flow.json"  # its source and settings; written before anything starts
FLOW_LOCK = "flow.lock"  # held by the one process that may write
FEATURES_FILE = "features.parquet"
CHECK_FILE = "check.json"  # what `check --json` prints
DATASET_FOLDER = "dataset"
RUN_FOLDER = "run"
EVALUATION_FILE = "evaluation.json"  # what `evaluate --json` prints
LATENTS_FILE = "latents.parquet"

# --- while `embed` works, in a hidden folder beside FEATURES ------------------------------------------------------
EMBEDDING_FILE = "embedding.json"  # which proteins and options the folder belongs to; written when all blocks are there
BLOCK_FILES = "block-{number:05d}.parquet"  # proteins, checked, in the order of the input
PART_FILES = "part-{number:05d}.npy"  # vectors of the proteins of a part

# --- in a bucket, and wherever a Ray job writes FEATURES or a DATASET ---------------------------------------------
UPLOADING = "_uploading"  # in a folder while files of it are missing; a job's says what it makes of what

# --- metrics of an epoch -----------------------------------------------------------------------------------------
EPOCH = "epoch"  # 1 for the first
TRAIN_LOSS = "train_loss"  # mean over the training rows, on the scale of VAL_LOSS, in training mode
VAL_LOSS = "val_loss"  # on the paper's scale, see model/evaluation.py
BEST_VAL_LOSS = "best_val_loss"  # running minimum of VAL_LOSS: what the search minimises
BEST_EPOCH = "best_epoch"
VAL_RECONSTRUCTION = "val_reconstruction"  # squared error a protein, at the sampled latents
VAL_KLD = "val_kld"  # Kullback-Leibler divergence a protein, in nats
R2 = "r2"  # explained variance of the validation rows, at the sampled latents
ACTIVE_UNITS = "active_units"  # latents whose posterior mean varies by > 1 % of the posterior's own variance
PAPER_LOSS = "paper_loss"  # where trials are compared by another beta: VAL_LOSS with the paper's, 1000
WORST_LOSS = "worst_row_loss"  # the largest beta * squared error + KLD of a validation row
WORST_ROW = "worst_row"  # its position in the validation split, from 0
LEARNING_RATE = "lr"
ROWS_PER_SECOND = "rows_per_s"  # training rows
SECONDS = "seconds"  # training and validation of the epoch

# --- records of a trial ------------------------------------------------------------------------------------------
NUMBER = "number"  # Optuna's number of the trial, from 0
STATE = "state"
FAULT = "fault"  # in a result: a problem of the data or the machine, not of the trial
FAILURE = "failure"  # in a result: why the trial failed
SHORT_OF_MEMORY = "short_of_memory"  # beside a failure: out of memory, as other trials would be too
CRASHED = "crashed"  # in the configuration of a trial with too many crashes: the last reason
PAUSED_AT = "paused_at"  # the epoch at which a trial paused last
UNTIL = "until"  # the epoch to which it trains before it pauses again
REPEAT = "repeat"  # which retraining of a finalist, from 0
EPOCHS = "epochs"
NODE = "node"
DEVICE = "device"  # cpu or cuda
TIME = "time"  # seconds since 1970
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # in run.json

PENDING = "pending"
RUNNING = "running"
PAUSED = "paused"  # at a rung; it may be promoted
COMPLETE = "complete"
PRUNED = "pruned"
FAILED = "failed"
FINALIST = "finalist"  # no state of a trial: a retraining, where a figure shows it among trials
