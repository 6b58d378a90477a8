package federation_test

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"credence/client"
	"credence/fl"
	"credence/fl/translog"
	"credence/he/threshold"
	"credence/zk"
)

var update = flag.Bool("update", false, "rewrite the table of attacks in docs/threat-model.md")

// Who catches an attack.
const (
	byClient     = "client"
	byAggregator = "aggregator"
	byMember     = "member"
	byAuditor    = "auditor"
	byEverybody  = "whoever decodes it"
	byVerifier   = "every verifier"
	byItself     = "the party itself"
)

// attack is one thing that a dishonest party tries in a live federation, and
// the error by which it is found out.
type attack struct {
	name  string
	lines []string // what it covers, see threats
	by    string
	want  error
	tell  func(*scene) error
}

// elsewhere is a test of another package, or of this one, that shows how an
// attack ends.
type elsewhere struct {
	line, name string
	by         string
	with       string // the error
	test       string // folder, test, and the case as it is written there
}

// threats lists what the tests must cover: every attack of the protocol and
// every kind of bad input, in this order.
var threats = []string{
	"replayed update", "replayed sealed set", "re-attributed update", "re-ordered update", "unenrolled, revoked or duplicate signer",
	"ciphertext swapped after the challenge", "out of bounds by one", "value or norm out of bounds", "constraint left out",
	"ciphertext differs from commitment", "K-1 signers", "cohort minus one", "second decryption", "second decryption of one client", "forged sum",
	"seal that does not follow", "downgraded level", "rogue key share", "bad dealings", "decryption shares", "Shamir point 0", "forked plan or log", "stale epoch",
	"encodings", "killed processes", "full disk", "clock skew", "two replicas",
	"malformed proof", "non-canonical proof", "off-curve proof", "proof outside the subgroup", "proof for another circuit", "proof for another round",
	"proof for another client", "proof for another plan", "proof for another epoch", "missing public inputs", "extra public inputs", "reordered public inputs",
	"keys tampered with", "lies in what was published",
}

// live lists the attacks that are played against a live federation, by test.
var live = map[string][]attack{
	"TestMaliciousAggregator": append(slices.Clone(sealLies), secondSum, dropped, droppedClient, replayedSet, audited, forked),
	"TestMaliciousClient":     append(slices.Clone(clientLies), copied, lateUpdate, replayed, resent, duplicate, revoked),
	"TestMaliciousMember":     {wrongShare, otherShare, malformed, otherSeal, lateShare, outsideMember},
	"TestCheatingMember":      {unattested, shareOfAnother, shareOfEpoch, otherSecret, chosenShare},
}

const here = "experiments/federation"

var others = []elsewhere{
	{"replayed update", "anything that a party once sent, again, also damaged", byAggregator, "nothing changes", here + " TestSimulation/replay"},
	{"replayed update", "the update of one round in another", byAggregator, "refusal `wrong-addressee`", "aggregator TestBadInput/the update of one round in another"},
	{"re-ordered update", "an update that comes before its turn", byAggregator, "refusal `wrong-addressee`", "aggregator TestBadInput/a share before the seal"},
	{"re-ordered update", "an update whose shards are in disorder", byMember, "`fl.ErrMalformed`", "client TestLyingSeals/an update with shards in disorder"},
	{"re-ordered update", "the proofs of two shards, swapped", byVerifier, "`zk.ErrRejected`", "zk TestProofsCannotBeRearranged/swapped"},
	{"unenrolled, revoked or duplicate signer", "a connection without a certificate of this federation", byAggregator, "no connection", "fl/identity TestConnectionWithoutCertificate"},
	{"unenrolled, revoked or duplicate signer", "a sealed update of nobody", byMember, "refusal `unknown-party`", "client TestLyingSeals/an update of nobody"},
	{"unenrolled, revoked or duplicate signer", "a sealed update of a revoked party", byMember, "`client.ErrSeal`", "client TestLyingSeals/an update of a revoked party"},
	{"unenrolled, revoked or duplicate signer", "a sealed update of a party that was revoked after the member had looked it up", byMember, "`client.ErrSeal`", "client TestLyingSeals/an update of a party that was revoked since this node looked it up"},
	{"unenrolled, revoked or duplicate signer", "a sealed update of a party enrolled after the plan", byMember, "`client.ErrSeal`", "client TestLyingSeals/an update of a party enrolled after the plan"},
	{"unenrolled, revoked or duplicate signer", "a client twice in a seal", byMember, "`fl.ErrMalformed`", "client TestLyingSeals/a client twice"},
	{"unenrolled, revoked or duplicate signer", "a sealed update that the aggregator signed itself", byMember, "`fl.ErrBadSignature`", "client TestLyingSeals/an update that the aggregator signed itself"},
	{"unenrolled, revoked or duplicate signer", "other keys for a party than before", byClient, "an error that names the party", "client TestSwappedKeys"},
	{"ciphertext swapped after the challenge", "another ciphertext than the proof's challenge covers", byVerifier, "`zk.ErrRejected`", "zk TestProofsCannotBeRearranged/first of another run"},
	{"ciphertext swapped after the challenge", "a published polynomial that differs by one", "the proof", "not satisfied", "zk/circuit/rlwe TestOnlyTheNamedConstraintCatchesEachAttack/c0 differs by one"},
	{"out of bounds by one", "a value", "the proof", "not satisfied", "zk/circuit/rlwe TestOnlyTheNamedConstraintCatchesEachAttack/digit one above its range"},
	{"out of bounds by one", "an error", "the proof", "not satisfied", "zk/circuit/rlwe TestOnlyTheNamedConstraintCatchesEachAttack/e = 20"},
	{"out of bounds by one", "the ternary secret", "the proof", "not satisfied", "zk/circuit/rlwe TestOnlyTheNamedConstraintCatchesEachAttack/u = 2"},
	{"out of bounds by one", "a quotient", "the proof", "not satisfied", "zk/circuit/rlwe TestOnlyTheNamedConstraintCatchesEachAttack/k one above its bound"},
	{"out of bounds by one", "the norm", "the proof", "not satisfied", "zk/circuit/rlwe TestOnlyTheNamedConstraintCatchesEachAttack/norm one above its bound"},
	{"constraint left out", "each constraint of the circuit, left out in turn: exactly its own attacks pass", "the proof", "not satisfied", "zk/circuit/rlwe TestOnlyTheNamedConstraintCatchesEachAttack"},
	{"constraint left out", "secrets chosen after the challenge", "the proof", "not satisfied", "zk/circuit/rlwe TestOnlyTheNamedConstraintCatchesEachAttack/errors chosen after the challenge"},
	{"value or norm out of bounds", "values that were attested where no parameter is", "whoever opens the sum", "not read, or held to the range", "fl TestAttestedSumsAreBroughtWithinReach/padding"},
	{"ciphertext differs from commitment", "whose ciphertext it is, in a sum that differs", byAggregator, "the client's name", "zk TestFindMismatchesNamesTheLiars"},
	{"K-1 signers", "fewer decryption shares than the threshold", "the combination", "`threshold.ErrNotEnoughShares`", "he/threshold TestWrongShares"},
	{"K-1 signers", "a seal with the noise of fewer members than the threshold", byMember, "`client.ErrSeal`", "client TestLyingSeals/too few noise dealers"},
	{"cohort minus one", "one shard below the minimum cohort", byMember, "`client.ErrSeal`", "client TestLyingSeals/one shard below the minimum cohort"},
	{"cohort minus one", "this node's update at a later time than its receipt says", byMember, "`client.ErrAccepted`", "client TestLyingSeals/with this node's update at a later time than its receipt says"},
	{"second decryption", "another sum in the same place, across restarts", byMember, "`threshold.ErrSecondDigest`", "he/threshold TestReleaseOnce"},
	{"second decryption", "the same sum with another set of dealers", byMember, "`threshold.ErrSecondDealerSet`", "he/threshold TestReleaseOnce"},
	{"seal that does not follow", "another round, plan, key, federation, shard or contributor", byMember, "`client.ErrSeal`", "client TestLyingSeals"},
	{"downgraded level", "a job below the floor", byClient, "`client.ErrBelowFloor`", "client TestLyingJobs/below the genesis' proof floor"},
	{"rogue key share", "a key share that does not open its commitment", byEverybody, "`threshold.ErrCommitment`", "he/threshold TestEpochKeyAttacks"},
	{"rogue key share", "shares of another secret than the attested one", "the self-test", "verdict `self-test`", here + " TestCheatingMember"},
	{"bad dealings", "a box that does not open", "its receiver", "verdict `dealing`", here + " TestCheatingMember"},
	{"bad dealings", "a complaint without a reason", byEverybody, "verdict `complaint`", "aggregator TestEpochDisputes/a complaint without a reason convicts the complainer"},
	{"bad dealings", "no answer to a complaint", byAggregator, "verdict `silence`", "aggregator TestEpochDisputes/silence convicts a dealer"},
	{"bad dealings", "checks that lie on no polynomial", byEverybody, "`threshold.ErrDealing`", "he/threshold TestDealingIsChecked"},
	{"bad dealings", "wrong noise for a round", "its receiver", "verdict `dealing`", "aggregator TestWrongNoise"},
	{"bad dealings", "a verdict that its evidence does not carry", byAuditor, "`audit.Lie`", here + " TestCheatingMember"},
	{"decryption shares", "members that are silent", "nobody has to", "any others open the sum", here + " TestMembersKilledBeforeDecryption"},
	{"decryption shares", "the same share twice, after a restart", byAggregator, "a receipt again", here + " TestMemberKilledAfterRelease"},
	{"decryption shares", "a share that shifts the sum by a multiple of Delta", "the combination", "named with m-t shares more", "he/threshold TestTargetedShift"},
	{"decryption shares", "oversized noise", "the combination", "`he.ErrNoise`", "he/threshold TestOversizedNoise"},
	{"Shamir point 0", "a committee with a member at point 0", byEverybody, "`threshold.ErrBadEpoch`", "he/threshold TestEpochRefused/point 0"},
	{"forked plan or log", "two plans for two clients", byClient, "`translog.ErrNotInLog`", "client TestTwoPlans"},
	{"forked plan or log", "a fork, remembered across restarts, with its evidence", byClient, "`translog.ErrFork`", "client TestForkEndsTheNode"},
	{"forked plan or log", "a witness asked to cosign two logs", "witness", "`translog.ErrFork`", "client TestWitnessNeverSignsTwoLogs"},
	{"forked plan or log", "another dataset commitment of a client than in the round that the member opened", byMember, "`client.ErrOtherDataset`", here + " TestOtherDataset"},
	{"stale epoch", "a document for an epoch that is over", byAggregator, "refusal `wrong-addressee`", "aggregator TestBadInput/a seal key for a stale epoch"},
	{"stale epoch", "a share from an erased epoch", byMember, "`threshold.ErrEpochErased`", "he/threshold TestDisk"},
	{"encodings", "every document truncated, oversized, not canonical, of another kind, signer or federation", byAggregator, "refusals `malformed`, `bad-signature`, `not-allowed`, `wrong-addressee`", "aggregator TestBadInput/truncated to %d bytes"},
	{"encodings", "blobs that are too large, cut short or not uploaded", byAggregator, "refusals `malformed`, `not-ready`", "aggregator TestBadBlobs"},
	{"encodings", "false receipts, blobs, documents and uploads", byClient, "an error that says which", "client TestLyingAnswers"},
	{"encodings", "any bytes as a document", byEverybody, "`fl.ErrMalformed`", "fl FuzzDecodeEnvelope"},
	{"encodings", "any bytes as a proof", byEverybody, "`zk.ErrEncoding`", "zk FuzzParseAttestation"},
	{"encodings", "any bytes as a ciphertext", byEverybody, "`he.ErrNotCanonical`, `he.ErrLength`", "he FuzzParseCiphertext"},
	{"encodings", "any bytes as a sum", byEverybody, "`he.ErrNotCanonical`, `he.ErrLength`", "he FuzzParseSum"},
	{"killed processes", "the aggregator, at every write", "the store", "the same bytes again", "aggregator TestCrashAtEveryWrite"},
	{"killed processes", "a key holder, at every write", "its record", "the same bytes again", "he/threshold TestCrashAtEveryWrite"},
	{"killed processes", "everybody, again and again", "everybody", "the round ends", here + " TestSimulation"},
	{"full disk", "a node's", byItself, "`ENOSPC`, said with what to do; it goes on", here + " TestFullDisk"},
	{"full disk", "the aggregator's database", byItself, "`store.ErrFull`", "aggregator/store/sqlite TestDiskFull"},
	{"clock skew", "a node whose clock is off", byAggregator, "refusal `clock`, said by the node", here + " TestWrongClock"},
	{"two replicas", "two aggregators that drive the same rounds", "the store", "`store.ErrStale`; one seal", here + " TestTwoReplicas"},
	{"malformed proof", "any single bit of a proof", byVerifier, "`zk.ErrEncoding` or `zk.ErrRejected`", "zk TestEncodingIsStrict"},
	{"non-canonical proof", "a field element plus the field's order", byEverybody, "`zk.ErrEncoding`", "zk TestEncodingIsStrict/scalar plus p"},
	{"non-canonical proof", "a coordinate plus the field's order", byEverybody, "`zk.ErrEncoding`", "zk TestEncodingIsStrict/x not canonical"},
	{"off-curve proof", "a point that is not on the curve", byEverybody, "`zk.ErrEncoding`", "zk TestEncodingIsStrict/off the curve"},
	{"proof outside the subgroup", "a point of the twist outside G2", byEverybody, "`zk.ErrEncoding`", "zk TestEncodingIsStrict/outside the subgroup"},
	{"proof for another circuit", "a proof of another suite's circuit", byVerifier, "`zk.ErrRejected`", "zk TestDishonestProverIsStopped/another circuit's proof: %v"},
	{"proof for another circuit", "a key share's proof for an update's", byEverybody, "`zk.ErrEncoding`", "zk TestEncodingIsStrict/key share's attestation"},
	{"proof for another circuit", "a proof made with the keys of another set-up", byVerifier, "`zk.ErrRejected`", "zk TestDishonestProverIsStopped/another set-up's proof: %v"},
	{"proof for another round", "another round in the scope", byVerifier, "`zk.ErrRejected`", "zk TestScopeIsBound/round"},
	{"proof for another client", "another client in the scope", byVerifier, "`zk.ErrRejected`", "zk TestScopeIsBound/client"},
	{"proof for another plan", "another plan in the scope", byVerifier, "`zk.ErrRejected`", "zk TestScopeIsBound/plan"},
	{"proof for another epoch", "a proof under another epoch's key", byVerifier, "`zk.ErrRejected`", "zk TestDishonestProverIsStopped/another epoch's proof: %v"},
	{"missing public inputs", "one public input less", byEverybody, "`zk.ErrEncoding`", "zk TestPublicInputsAreFixed/one less"},
	{"extra public inputs", "one public input more", byEverybody, "`zk.ErrEncoding`", "zk TestPublicInputsAreFixed/one more"},
	{"reordered public inputs", "any two public inputs exchanged", byVerifier, "`zk.ErrRejected`", "zk TestPublicInputsAreFixed/%d and %d exchanged"},
	{"keys tampered with", "any byte of any key file", byItself, "`zk.ErrKeys`", "zk TestDamagedKeysAreRefused"},
	{"keys tampered with", "keys of another circuit or set-up, mixed", byItself, "`zk.ErrKeys`", "zk TestKeysOfAnotherCircuitAreRefused/two set-ups mixed"},
	{"keys tampered with", "a contribution to a ceremony, tampered with or replayed", byEverybody, "the contribution's name", "zk/ceremony TestTamperingIsNamed"},
	{"lies in what was published", "a changed byte of any blob, entry, posting or model", byAuditor, "`audit.Lie`", "cmd/credence TestAudit"},
	{"lies in what was published", "a model, figure, payment or sum that does not follow, with every signature right", byAuditor, "`audit.Lie`", "cmd/credence TestAudit/another model"},
}

// TestAttacks holds the table in docs/threat-model.md to the tests: every
// attack of the protocol has one, and each that the table names exists.
func TestAttacks(t *testing.T) {
	covered := map[string]bool{}
	var rows []string
	names := map[string]bool{}
	row := func(line, name, by, with, test string) {
		if names[line+name] {
			t.Errorf("%s: %s: listed twice", line, name)
		}
		names[line+name] = true
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s | `%s` |", line, name, by, with, test))
	}
	for _, line := range threats {
		for _, test := range []string{"TestMaliciousAggregator", "TestMaliciousClient", "TestMaliciousMember", "TestCheatingMember"} {
			for _, a := range live[test] {
				for _, l := range a.lines {
					if !slices.Contains(threats, l) {
						t.Errorf("%s: no threat is called %q", a.name, l)
					}
					covered[l] = true
				}
				if a.lines[0] == line {
					row(line, a.name, a.by, nameOf(a.want), here+" "+test)
				}
			}
		}
		for _, o := range others {
			if o.line == line {
				covered[line] = true
				test, _, _ := strings.Cut(o.test, "/%")
				row(line, o.name, o.by, o.with, test)
			}
		}
		if !covered[line] {
			t.Errorf("nothing is tested of: %s", line)
		}
	}
	for _, o := range others {
		if !slices.Contains(threats, o.line) {
			t.Errorf("%s: no threat is called %q", o.name, o.line)
		}
		testExists(t, o.test)
	}
	for test := range live {
		testExists(t, here+" "+test)
	}
	const begin, end = "<!-- BEGIN attacks: written by go test ./experiments/federation -run TestAttacks -update -->\n", "<!-- END attacks -->\n"
	path := filepath.Join("..", "..", "docs", "threat-model.md")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), begin)
	held, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table between %q and %q", path, begin, end)
	}
	want := "| attack | tried | caught by | with | test |\n|---|---|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
	if held == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the tests say: go test ./%s -run TestAttacks -update", path, here)
	}
	if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// nameOf names an error for the table.
func nameOf(err error) string {
	var r *fl.Refusal
	if errors.As(err, &r) {
		return "refusal `" + string(r.Code) + "`"
	}
	for name, known := range map[string]error{
		"`zk.ErrCommitment`": zk.ErrCommitment, "`zk.ErrRejected`": zk.ErrRejected, "`translog.ErrFork`": translog.ErrFork, "`translog.ErrNotInLog`": translog.ErrNotInLog,
		"`client.ErrSeal`": client.ErrSeal, "`client.ErrLeftOut`": client.ErrLeftOut, "`client.ErrOtherPlan`": client.ErrOtherPlan,
		"`client.ErrBelowFloor`": client.ErrBelowFloor, "`client.ErrEpochKey`": client.ErrEpochKey, "`client.ErrProofKeys`": client.ErrProofKeys,
		"`fl.ErrMalformed`": fl.ErrMalformed, "`threshold.ErrSecondDigest`": threshold.ErrSecondDigest, "`audit.Lie`": errLie, "named in the manifest": errNamed,
	} {
		if errors.Is(err, known) {
			return name
		}
	}
	return "`" + err.Error() + "`"
}

var parsed = map[string][]*ast.File{}

// testExists checks that a folder has a test, and that what is said of a case
// stands in the folder's tests.
func testExists(t *testing.T, test string) {
	t.Helper()
	folder, name, _ := strings.Cut(test, " ")
	name, inside, _ := strings.Cut(name, "/")
	if parsed[folder] == nil {
		files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(folder), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed[folder] = append(parsed[folder], tree)
		}
	}
	found, said := false, inside == ""
	for _, tree := range parsed[folder] {
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				found = found || n.Recv == nil && n.Name.Name == name
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					said = said || text == inside
				}
			}
			return true
		})
	}
	if !found || !said || !strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "Fuzz") {
		t.Errorf("%s does not exist: the test %t, the case %t", test, found, said)
	}
}
