// Package credence_test checks what the compiler cannot: which folder of the
// module may import which, and the few rules of form that keep it readable.
// The linter enforces the same import rules in the editor (.golangci.yml,
// depguard); this test needs no tools and runs with every `go test ./...`.
package credence_test

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "credence"

// rooms is the module from the words everybody shares down to the binary.
// A package imports packages of its own room and of rooms above it.
var rooms = []string{
	"fl", "fl/credit", "fl/round", "fl/privacy", "fl/flpb", "fl/identity", "fl/translog",
	"he", "zk", "models", "datasets", "client", "aggregator", "experiments", "cmd",
}

// confined names libraries that only some rooms know, so that each can be
// replaced by changing one room.
var confined = map[string][]string{
	"github.com/tuneinsight/lattigo": {"he"},
	"github.com/consensys/gnark":     {"zk"}, // and gnark-crypto
	"gorgonia.org":                   {"models"},
	"google.golang.org/grpc":         {"fl/flpb", "client", "aggregator", "cmd", "experiments"},
	"google.golang.org/protobuf":     {"fl/flpb", "models", "client", "aggregator", "cmd", "experiments"},
	"modernc.org/sqlite":             {"aggregator"},
	"gonum.org/v1/plot":              {"experiments"},
	"github.com/spf13":               {"cmd"},
}

// apart lists pairs that must not meet although their order would allow it:
// the first imports nothing of the second.
var apart = [][2]string{
	{"aggregator", "client"},   // parties of a protocol share words, not code
	{"aggregator", "models"},   // the aggregator cannot train...
	{"aggregator", "datasets"}, // ...or read data
}

// pure lists the rooms that may import, of what is not this module, only the
// standard library and the given prefixes.
var pure = map[string][]string{
	"fl":          {"gonum.org/v1/gonum"},
	"fl/round":    {},
	"fl/credit":   {},
	"fl/privacy":  {"gonum.org/v1/gonum"},
	"fl/identity": {},
	"fl/translog": {"golang.org/x/mod/sumdb"},
	"fl/flpb":     {"google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto"},
}

// forTests may be imported by every _test.go file and by the conformance
// suites, which are tests that live in packages of their own.
var forTests = []string{
	"pgregory.net/rapid", "github.com/google/go-cmp", "go.uber.org/goleak", "github.com/rogpeppe/go-internal",
}

// under reports whether an import path or folder is prefix or lies below it.
// A major version or a sibling such as gnark-crypto counts as below.
func under(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, "-crypto"))
}

// room returns the room of a folder of the module, or "" when the folder has
// no room. The longest match wins: fl/round is not fl.
func room(folder string) string {
	best := ""
	for _, r := range rooms {
		if under(folder, r) && len(r) > len(best) {
			best = r
		}
	}
	// Only the folders listed above live below fl; a new one needs a decision.
	if best == "fl" && folder != "fl" {
		return ""
	}
	return best
}

// checkImport says why a file in the given folder of the module may not import
// a package, or returns "".
func checkImport(folder, imported string, isTest bool) string {
	from := room(folder)
	if from == "" {
		return fmt.Sprintf("folder %s is in no room: add it to rooms in architecture_test.go and to .golangci.yml", folder)
	}
	if imported == module || strings.HasPrefix(imported, module+"/") {
		target := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
		to := room(target)
		for _, pair := range apart {
			if from == pair[0] && to == pair[1] {
				return fmt.Sprintf("%s must not import %s", pair[0], pair[1])
			}
		}
		if strings.HasPrefix(from, "fl/") && to != "fl" && to != from {
			return fmt.Sprintf("%s imports fl alone: the rooms under fl can be read one at a time", from)
		}
		if to == "" || slices.Index(rooms, to) > slices.Index(rooms, from) {
			return fmt.Sprintf("%s must not import %s, which is below it", from, target)
		}
		return ""
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	if isTest && slices.ContainsFunc(forTests, func(p string) bool { return under(imported, p) }) {
		return ""
	}
	for library, allowed := range confined {
		if under(imported, library) && !slices.Contains(allowed, from) {
			return fmt.Sprintf("%s belongs to %s alone", library, strings.Join(allowed, ", "))
		}
	}
	if allowed, ok := pure[from]; ok && !slices.ContainsFunc(allowed, func(p string) bool { return under(imported, p) }) {
		return fmt.Sprintf("%s imports the standard library and %v only", from, allowed)
	}
	if !isTest && slices.ContainsFunc(forTests, func(p string) bool { return under(imported, p) }) {
		return "this library is for tests"
	}
	return ""
}

// isTest reports whether a file is part of the tests: conformance suites
// (storetest, blobtest) count.
func isTest(file string) bool {
	return strings.HasSuffix(file, "_test.go") || strings.HasSuffix(path.Dir(file), "test")
}

// generated is the mark of https://go.dev/s/generatedcode.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

const maxLines = 600

var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "type", "types", "misc", "shared", "lib"}

// goFiles lists the module's Go files, slash-separated. Folders whose name
// begins with '.' or '_' and testdata are no packages.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "bin") {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ".go") {
			files = append(files, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestImports(t *testing.T) {
	checked := 0
	for _, file := range goFiles(t) {
		folder := path.Dir(file)
		if folder == "." {
			continue // this test
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, spec := range tree.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Errorf("%s: import %s: %v", file, spec.Path.Value, err)
				continue
			}
			if why := checkImport(folder, imported, isTest(file)); why != "" {
				t.Errorf("%s imports %s: %s", file, imported, why)
			}
			if room(folder) == "" {
				break // said once for each file
			}
			checked++
		}
	}
	if checked < 100 {
		t.Errorf("checked %d imports: the walk does not see the module", checked)
	}
}

// TestImportRulesBite keeps the rules honest: a rule that refuses nothing
// would pass every module.
func TestImportRulesBite(t *testing.T) {
	for _, c := range []struct {
		folder, imported string
		test             bool
		refused          bool
	}{
		{"fl", "crypto/sha256", false, false},
		{"fl", "gonum.org/v1/gonum/stat", false, false},
		{"fl", "google.golang.org/grpc", false, true},
		{"fl", "github.com/google/uuid", false, true},
		{"fl", "credence/fl/round", false, true},
		{"fl", "credence/he", false, true},
		{"fl", "pgregory.net/rapid", true, false},
		{"fl", "pgregory.net/rapid", false, true},
		{"fl/round", "credence/fl", false, false},
		{"fl/round", "credence/fl/credit", false, true},
		{"fl/round", "gonum.org/v1/gonum/stat", false, true},
		{"fl/credit", "credence/fl/round", false, true},
		{"fl/credit", "math/big", false, false},
		{"fl/privacy", "gonum.org/v1/gonum/stat/distuv", false, false},
		{"fl/privacy", "credence/fl/credit", false, true},
		{"fl/flpb", "google.golang.org/grpc/codes", false, false},
		{"fl/flpb", "google.golang.org/protobuf/proto", false, false},
		{"fl/flpb", "github.com/spf13/cobra", false, true},
		{"fl/flpb", "credence/fl/round", false, true},
		{"fl/identity", "credence/fl", false, false},
		{"fl/identity", "credence/fl/flpb", false, true},
		{"fl/identity", "golang.org/x/crypto/hkdf", false, true},
		{"fl/identity", "credence/he", false, true},
		{"fl/translog", "golang.org/x/mod/sumdb/note", false, false},
		{"fl/translog", "credence/fl/identity", false, true},
		{"fl/other", "fmt", false, true},
		{"he", "github.com/tuneinsight/lattigo/v5/ring", false, false},
		{"he/threshold", "github.com/tuneinsight/lattigo/v5/ring", false, false},
		{"he/threshold", "credence/he", false, false},
		{"he", "credence/models", false, true},
		{"he", "gorgonia.org/tensor", false, true},
		{"zk", "github.com/consensys/gnark/frontend", false, false},
		{"zk/circuit/rlwe", "github.com/consensys/gnark-crypto/ecc", false, false},
		{"zk", "credence/he", false, false},
		{"zk", "github.com/tuneinsight/lattigo/v5/ring", false, true},
		{"he", "credence/zk", false, true},
		{"he", "github.com/consensys/gnark-crypto/ecc", false, true},
		{"models", "gorgonia.org/gorgonia", false, false},
		{"models", "github.com/tuneinsight/lattigo/v5/ring", true, true},
		{"datasets", "gorgonia.org/tensor", false, true},
		{"datasets", "google.golang.org/grpc", false, true},
		{"datasets", "gonum.org/v1/plot", false, true},
		{"datasets", "github.com/parquet-go/parquet-go", false, false},
		{"experiments/plots", "gonum.org/v1/plot/vg", false, false},
		{"client", "credence/models", false, false},
		{"client", "credence/aggregator", false, true},
		{"client", "credence/aggregator/store", true, true},
		{"client", "modernc.org/sqlite", false, true},
		{"aggregator", "credence/he/threshold", false, false},
		{"aggregator", "credence/client", true, true},
		{"aggregator", "credence/models", false, true},
		{"aggregator/store/sqlite", "credence/datasets", false, true},
		{"aggregator/store/sqlite", "modernc.org/sqlite", false, false},
		{"aggregator", "github.com/consensys/gnark/frontend", false, true},
		{"aggregator", "github.com/spf13/cobra", false, true},
		{"experiments", "credence/aggregator", false, false},
		{"experiments", "credence/cmd/credence", false, true},
		{"cmd/credence", "credence/client", false, false},
		{"cmd/credence", "gorgonia.org/gorgonia", false, true},
		{"cmd/credence", "github.com/tuneinsight/lattigo/v5/ring", false, true},
		{"stuff", "fmt", false, true},
	} {
		if why := checkImport(c.folder, c.imported, c.test); (why != "") != c.refused {
			t.Errorf("%s imports %s (test: %t): got %q, want refused: %t", c.folder, c.imported, c.test, why, c.refused)
		}
	}
}

// tooLong returns the number of lines of a file that people wrote, when it is
// over the bound, or 0.
func tooLong(source []byte) int {
	lines := bytes.Count(source, []byte("\n"))
	if lines <= maxLines || generated.Match(source) {
		return 0
	}
	return lines
}

func vague(folder string) bool {
	return slices.ContainsFunc(strings.Split(folder, "/"), func(part string) bool { return slices.Contains(vagueNames, part) })
}

func TestForm(t *testing.T) {
	for _, file := range goFiles(t) {
		if vague(path.Dir(file)) {
			t.Errorf("%s: name the folder after what it does", file)
		}
		source, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			t.Error(err)
			continue
		}
		if lines := tooLong(source); lines > 0 {
			t.Errorf("%s has %d lines: at most %d, split it by reason to change", file, lines, maxLines)
		}
	}
}

func TestFormRulesBite(t *testing.T) {
	long := strings.Repeat("\n", maxLines+1)
	for _, c := range []struct {
		source string
		want   int
	}{
		{strings.Repeat("\n", maxLines), 0},
		{long, maxLines + 1},
		{"// Code generated by protoc-gen-go. DO NOT EDIT.\n" + long, 0},
		{"// Code generated by hand\n" + long, maxLines + 2},
	} {
		if got := tooLong([]byte(c.source)); got != c.want {
			t.Errorf("tooLong of %d lines: got %d, want %d", strings.Count(c.source, "\n"), got, c.want)
		}
	}
	for folder, want := range map[string]bool{"util": true, "he/common": true, "client/types": true, "he/threshold": false, "fl": false} {
		if got := vague(folder); got != want {
			t.Errorf("vague(%q): got %t, want %t", folder, got, want)
		}
	}
	for file, want := range map[string]bool{"fl/names.go": false, "fl/names_test.go": true, "aggregator/store/storetest/jobs.go": true} {
		if got := isTest(file); got != want {
			t.Errorf("isTest(%q): got %t, want %t", file, got, want)
		}
	}
}
