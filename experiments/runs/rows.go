package runs

// Round is one row of metrics; the package's documentation says what the
// columns mean.
type Round struct {
	Run     string `json:"run" parquet:"run,dict"`
	Cell    int    `json:"cell" parquet:"cell"`
	Setting string `json:"setting" parquet:"setting,dict"`
	Repeat  int    `json:"repeat" parquet:"repeat"`
	Seed    uint64 `json:"seed" parquet:"seed"`
	Round   int    `json:"round" parquet:"round"`

	Aborted   int `json:"aborted" parquet:"aborted"`
	Cohort    int `json:"cohort" parquet:"cohort"`
	Clients   int `json:"clients" parquet:"clients"`
	Declined  int `json:"declined" parquet:"declined"`
	Refused   int `json:"refused" parquet:"refused"`
	Malicious int `json:"malicious" parquet:"malicious"`

	TrainLoss      *float64 `json:"train_loss" parquet:"train_loss"`
	ClientLoss     *float64 `json:"client_loss" parquet:"client_loss"`
	ClientAccuracy *float64 `json:"client_accuracy" parquet:"client_accuracy"`
	AccuracyMin    *float64 `json:"accuracy_min" parquet:"accuracy_min"`
	AccuracyP10    *float64 `json:"accuracy_p10" parquet:"accuracy_p10"`
	AccuracyMedian *float64 `json:"accuracy_median" parquet:"accuracy_median"`
	AccuracyP90    *float64 `json:"accuracy_p90" parquet:"accuracy_p90"`
	AccuracyMax    *float64 `json:"accuracy_max" parquet:"accuracy_max"`
	AccuracyStd    *float64 `json:"accuracy_std" parquet:"accuracy_std"`
	TestLoss       *float64 `json:"test_loss" parquet:"test_loss"`
	TestAccuracy   *float64 `json:"test_accuracy" parquet:"test_accuracy"`
	AttackSuccess  *float64 `json:"attack_success" parquet:"attack_success"`

	UpdateNorm    *float64 `json:"update_norm" parquet:"update_norm"`
	UpdateNormMax *float64 `json:"update_norm_max" parquet:"update_norm_max"`
	Clipped       *float64 `json:"clipped" parquet:"clipped"`

	ClipNorm *float64 `json:"clip_norm" parquet:"clip_norm"`

	BytesUp        int64    `json:"bytes_up" parquet:"bytes_up"`
	BytesDown      int64    `json:"bytes_down" parquet:"bytes_down"`
	Seconds        float64  `json:"seconds" parquet:"seconds"`
	SecondsTrain   float64  `json:"seconds_train" parquet:"seconds_train"`
	SecondsEncrypt float64  `json:"seconds_encrypt" parquet:"seconds_encrypt"`
	SecondsProve   float64  `json:"seconds_prove" parquet:"seconds_prove"`
	SecondsVerify  float64  `json:"seconds_verify" parquet:"seconds_verify"`
	SecondsDecrypt float64  `json:"seconds_decrypt" parquet:"seconds_decrypt"`
	Epsilon        *float64 `json:"epsilon" parquet:"epsilon"`
	Credits        int64    `json:"credits" parquet:"credits"`
}

// Client is one row of clients: one client in one unit.
type Client struct {
	Run     string `json:"run" parquet:"run,dict"`
	Cell    int    `json:"cell" parquet:"cell"`
	Setting string `json:"setting" parquet:"setting,dict"`
	Repeat  int    `json:"repeat" parquet:"repeat"`
	Seed    uint64 `json:"seed" parquet:"seed"`

	Client  string  `json:"client" parquet:"client"`
	Samples int     `json:"samples" parquet:"samples"`
	HeldOut int     `json:"held_out" parquet:"held_out"`
	Labels  []int64 `json:"labels" parquet:"labels,list"`
	Attack  string  `json:"attack" parquet:"attack,dict"`

	Rounds   int `json:"rounds" parquet:"rounds"`
	Declined int `json:"declined" parquet:"declined"`
	Refused  int `json:"refused" parquet:"refused"`

	Loss         *float64 `json:"loss" parquet:"loss"`
	Accuracy     *float64 `json:"accuracy" parquet:"accuracy"`
	SecondsTrain float64  `json:"seconds_train" parquet:"seconds_train"`
	BytesUp      int64    `json:"bytes_up" parquet:"bytes_up"`
	Credits      int64    `json:"credits" parquet:"credits"`
}

// Unit is one training of a run: a cell of the sweep with one seed.
type Unit struct {
	Cell    int    `json:"cell"`    // from 0
	Setting string `json:"setting"` // the cell's values in words, "" without a sweep
	Repeat  int    `json:"repeat"`  // from 0
	Seed    uint64 `json:"seed"`    // of the job: initial model, cohorts, order of rows, rounding, attacks
	// Partition is the seed that divided the rows among the clients.
	Partition uint64 `json:"partition_seed"`
}

// Environment says where a run was made.
type Environment struct {
	Version  string `json:"version"`            // of the program
	Revision string `json:"revision,omitempty"` // of its sources
	Modified bool   `json:"modified,omitempty"` // the sources were changed after that revision
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	CPU      string `json:"cpu,omitempty"`  // the processor's own name
	BLAS     string `json:"blas,omitempty"` // whose matrix products the models use: gonum or openblas
	Cores    int    `json:"cores"`          // that the program may use
	MemoryMB int64  `json:"memory_mb,omitempty"`
	Started  string `json:"started"` // RFC 3339, UTC
}

// The states of a run.
const (
	Running = "running" // or its program was killed: see the lock
	Done    = "done"
	Stopped = "stopped" // interrupted; it can be resumed
	Failed  = "failed"  // an error; what was done until then is kept
)

// State says how far a run is.
type State struct {
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // of a stop or a failure
	Rounds int    `json:"rounds"`           // made, over all units
	Of     int    `json:"of"`
	// Config is the digest of config.yaml when the run began.
	Config string `json:"config"`
	Inputs
}

// Inputs are digests of what a run trains on beside its file, when it began: a
// run that went on with other rows would be neither run.
type Inputs struct {
	Schema    string `json:"schema"`    // the features and the label, in canonical form
	Rows      string `json:"rows"`      // training and test rows as the model sees them
	Partition string `json:"partition"` // who has which rows, in every training
}
