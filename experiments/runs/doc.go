// Package runs keeps the results of an experiment in a folder that outlives
// the program: what was asked, where it ran, what came out.
//
// # The folder
//
//	config.yaml       the experiment's file, byte for byte
//	resolved.yaml     the same with every default written out
//	environment.json  Environment: version, revision, Go, system, processor
//	seeds.json        []Unit: every training of the run, its settings and seed
//	data.json         Data: what the rows are: names of classes and features
//	state.json        State: running, done, stopped or failed, and why
//	metrics.jsonl     Round, one JSON object a line, in the order of the work
//	metrics.parquet   the same rows; written when the run stops or ends
//	clients.jsonl     Client, one a line, written when its training ends
//	clients.parquet   the same rows
//	demonstrations.jsonl  Demonstration, one a line: attacks on privacy, where the
//	                  file asks for some
//	models/           cNNN-rNNN.safetensors: the last model of each unit
//	checkpoint        what a stopped run goes on from
//	lock              held by the program that writes
//
// A unit is one training: one cell of the sweep with one seed. Units run one
// after the other, cells first, so rows of one unit are together. In pandas:
//
//	pd.read_parquet("runs/digits/metrics.parquet")
//
// # The columns of metrics
//
// The JSON keys and the Parquet columns have the same names; a value that
// there is none of is null in both.
//
//	run               name of the run (the job's name)
//	cell, setting     number of the sweep's cell from 0; its values in words, "" without a sweep
//	repeat, seed      number of the repeat from 0; its seed
//	round             from 1; counts versions
//	aborted           rounds before this one that were left with too few updates and made none
//	cohort            clients that the plan named
//	clients           updates in the sum
//	declined          clients that declined: their training diverged
//	refused           updates that a check refused
//	malicious         of the cohort, clients that an attack controls
//	train_loss        mean of the cohort's last-epoch training losses
//	client_loss, client_accuracy    of the model that the round STARTED from, on the cohort's own
//	                  held-out rows (training rows where a client holds none out), pooled over rows
//	accuracy_min, accuracy_p10, accuracy_median, accuracy_p90, accuracy_max, accuracy_std
//	                  of the same evaluations, one accuracy a client
//	test_loss, test_accuracy        of the model that the round MADE, on the data set's test rows;
//	                  null in rounds that evaluate_every leaves out
//	attack_success    share of test rows of other classes that the new model gives the backdoor's target
//	                  when they carry its trigger
//	update_norm, update_norm_max    mean and largest L2 norm of the cohort's updates before clipping
//	clipped           share of the clients whose update exceeded the norm bound
//	clip_norm         the norm bound of the round; null: none. It moves where the clip adapts
//	bytes_up, bytes_down            ciphertexts and attestations sent; global models fetched. Documents
//	                  and transport are not counted
//	seconds           wall time of the round
//	seconds_train, seconds_encrypt, seconds_prove, seconds_verify, seconds_decrypt
//	                  summed over all parties, so their sum may exceed seconds
//	epsilon           privacy spent until here at the delta of the file, by the client that was charged
//	                  most; null: no guarantee
//	credits           paid to clients for the round
//
// # The columns of clients
//
//	run, cell, setting, repeat, seed    as above
//	client            name
//	samples, held_out rows
//	labels            training rows of each class, in the order of the classes
//	attack            kind of the attack that controls the client, "" for honest ones
//	rounds, declined, refused           rounds whose sum it is in; others
//	loss, accuracy    of the last model on the client's own rows, held-out ones if it has any
//	seconds_train, bytes_up, credits    summed over the rounds
//
// # The columns of demonstrations
//
// They are those of Demonstration: an attack on one view of the first round of a
// setting, with its first seed. They are JSON lines only, for they hold lists:
//
//	pd.read_json("runs/digits/demonstrations.jsonl", lines=True)
//
// # What it trusts
//
// The file system of its user. It decodes what it wrote itself, strictly and
// within bounds, because a folder may come from somebody else.
package runs
