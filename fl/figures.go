package fl

// Figures are the evaluation of a global model on the nodes' own data, summed
// over the cohort.
type Figures struct {
	LossMilli int64 `json:"loss_milli"` // sum of the examples' losses, in thousandths
	Correct   int64 `json:"correct"`
	Count     int64 `json:"count"`
}
