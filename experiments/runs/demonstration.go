package runs

// Data says what the rows of a run are.
type Data struct {
	Name     string   `json:"name"`  // of the set, or the file's path as it was given
	Train    int      `json:"train"` // rows
	Test     int      `json:"test"`
	Features []string `json:"features,omitempty"` // names, in the order of the model's inputs; none for many
	Classes  []string `json:"classes"`            // names, in the order of the labels
	Height   int      `json:"height,omitempty"`   // of rows that are images, in pixels; 0: they are none
	Width    int      `json:"width,omitempty"`
	Channels int      `json:"channels,omitempty"`
}

// The attacks of demonstrations.
const (
	AttackInversion      = "inversion"       // a row read out of an update
	AttackMembership     = "membership"      // by comparison with shadow rounds
	AttackMembershipLoss = "membership-loss" // by the loss alone
)

// Demonstration is one attack on one view of a setting's first round. Figures
// that the attack does not have are null.
type Demonstration struct {
	Run     string `json:"run"`
	Cell    int    `json:"cell"`
	Setting string `json:"setting"`
	Repeat  int    `json:"repeat"`
	Seed    uint64 `json:"seed"`

	Attack  string   `json:"attack"`
	View    string   `json:"view"`    // what the attacker sees, of privacyattack.Views
	Clients int      `json:"clients"` // of the attacked round
	Rows    int      `json:"rows"`    // that a client trained on: of inversion all clients, else the victim
	Trials  int      `json:"trials"`  // attempts, or rows decided upon
	Epsilon *float64 `json:"epsilon"` // of the one round; null: no guarantee

	Similarity     *float64 `json:"similarity"` // cosine, mean over the trials, with its 95 % interval
	SimilarityLow  *float64 `json:"similarity_low"`
	SimilarityHigh *float64 `json:"similarity_high"`
	Baseline       *float64 `json:"baseline"`   // similarity of the mean row
	Identified     *float64 `json:"identified"` // share, with its 95 % interval
	IdentifiedLow  *float64 `json:"identified_low"`
	IdentifiedHigh *float64 `json:"identified_high"`
	Chance         *float64 `json:"chance"` // of identifying by guessing
	Labels         *float64 `json:"labels"` // share of labels that were read

	AUC           *float64     `json:"auc"` // with its 95 % interval
	AUCLow        *float64     `json:"auc_low"`
	AUCHigh       *float64     `json:"auc_high"`
	Advantage     *float64     `json:"advantage"`
	MostAdvantage *float64     `json:"most_advantage"`  // that epsilon allows any attack
	Accuracy      *float64     `json:"accuracy"`        // of the model that is seen
	Curve         [][2]float64 `json:"curve,omitempty"` // false and true positive rate

	Pictures []Recovered `json:"pictures,omitempty"`
}

// Recovered is what one trial of an inversion gave, in the model's inputs.
type Recovered struct {
	Original  []float32 `json:"original"`
	Recovered []float32 `json:"recovered"`
	Label     int       `json:"label"` // of the original
	Read      int       `json:"read"`  // by the attacker
}
