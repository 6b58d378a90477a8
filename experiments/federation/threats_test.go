package federation_test

// Who catches an attack.
const (
	byClient     = "client"
	byAggregator = "aggregator"
	byMember     = "member"
	byAuditor    = "auditor"
)

// attack is one thing that a dishonest party tries, and the error by which it
// is found out.
type attack struct {
	name  string
	lines []string // what it covers, see threats
	by    string
	want  error
	tell  func(*scene) error
}
