package datasets

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMissingWords keeps the checks of every word against them linear.
const maxMissingWords = 64

// errInSplit marks a validation error as one about the split section.
var errInSplit = errors.New("in split")

// Validate reports the first contradiction in the schema, as an error of kind
// ErrSchema. For a column its Line is the column's place in the list until
// ParseSchema replaces it by the line of the file.
func (s *Schema) Validate() error {
	bad := func(problem, remedy string) error {
		return &Error{Kind: ErrSchema, Problem: problem, Remedy: remedy}
	}
	switch {
	case s.Version != 1:
		return bad(fmt.Sprintf("schema version %d is not known", s.Version), "write `version: 1`")
	case !utf8.ValidString(s.Name):
		return bad("the schema's name is not UTF-8", "")
	case s.Delimiter != "" && !slices.Contains([]string{",", ";", "|", "\t"}, s.Delimiter):
		return bad("the delimiter is not understood", `use "," ";" "|" or "\t"`)
	case s.NoHeader && s.ExtraColumns:
		return bad("extra_columns needs a header to find columns by name", "list every column, or give the file a header")
	case len(s.MissingValues) > maxMissingWords:
		return bad(fmt.Sprintf("there are %d missing_values", len(s.MissingValues)), fmt.Sprintf("at most %d are accepted", maxMissingWords))
	case len(s.Columns) == 0:
		return bad("there are no columns", "list them under `columns`")
	case len(s.Columns) > MaxColumns:
		return bad(fmt.Sprintf("there are %d columns", len(s.Columns)), fmt.Sprintf("at most %d are accepted", MaxColumns))
	}
	for _, m := range s.MissingValues {
		if m != "" && !isWord(m) {
			return bad("a word under missing_values has spaces around it or characters that do not print", "correct it")
		}
	}
	names := make(map[string]bool, len(s.Columns))
	labels := 0
	for i := range s.Columns {
		c := &s.Columns[i]
		problem, remedy := c.check(s.MissingValues)
		if problem == "" && names[c.Name] {
			problem, remedy = "two columns have this name", "rename one"
		}
		if c.Kind == Label {
			if labels++; labels > 1 && problem == "" {
				problem, remedy = "this is a second label column", "an example has one label; make one of them `kind: ignore`"
			}
		}
		if problem != "" {
			return &Error{Kind: ErrSchema, Line: i + 1, Column: c.Name, Problem: problem, Remedy: remedy}
		}
		names[c.Name] = true
	}
	if labels == 0 {
		return bad("no column has `kind: label`", "say which column holds the class")
	}
	if n := s.Features(); n < 1 || n > MaxFeatures {
		return bad(fmt.Sprintf("the columns make %d features", n), fmt.Sprintf("1 to %d are accepted", MaxFeatures))
	}
	return s.checkSplit()
}

func (s *Schema) checkSplit() error {
	p := s.Split
	bad := func(problem, remedy string) error {
		return &Error{Kind: ErrSchema, Problem: problem, Remedy: remedy, Err: errInSplit}
	}
	if p.Method != SplitColumn && (p.Column != "" || p.Train != "" || p.Test != "") {
		return bad("column, train and test belong to `method: column`", "remove them or change the method")
	}
	if p.Method != SplitFraction && (p.Fraction != 0 || p.Seed != 0 || p.Stratified) {
		return bad("fraction, seed and stratified belong to `method: fraction`", "remove them or change the method")
	}
	switch p.Method {
	case "", SplitNone, SplitFile:
	case SplitFraction:
		if !(p.Fraction > 0 && p.Fraction < 1) {
			return bad("the fraction of test rows must lie between 0 and 1", "for example `fraction: 0.2`")
		}
	case SplitColumn:
		i := slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == p.Column })
		if i < 0 || s.Columns[i].Kind != Ignore {
			return bad(fmt.Sprintf("the split column %q is not a column of kind ignore", p.Column), "list it under `columns` with `kind: ignore`")
		}
		d := s.withDefaults().Split
		if d.Train == d.Test || !isWord(d.Train) || !isWord(d.Test) {
			return bad("the words for train and test must differ and have no spaces around them", "for example `train: train` and `test: test`")
		}
		if slices.Contains(s.MissingValues, d.Train) || slices.Contains(s.MissingValues, d.Test) {
			return bad("a word for train or test is also listed under missing_values", "remove it there")
		}
	default:
		return bad(fmt.Sprintf("unknown split method %q", p.Method), "use none, column, fraction or file")
	}
	return nil
}

// check returns what is wrong with a column and what to do, or "".
func (c *Column) check(missing []string) (problem, remedy string) {
	if !isWord(c.Name) {
		return "the name is empty, has spaces around it or characters that do not print", "name the column as in the file's header"
	}
	if c.Kind != Numeric && (c.Normalise != "" || c.Mean != nil || c.Std != nil || c.Min != nil || c.Max != nil) {
		return "only a numeric column is normalised", "remove normalise, mean, std, min and max"
	}
	if c.Kind != Categorical && c.Categories != nil {
		return "only a categorical column has categories", "remove them or set `kind: categorical`"
	}
	if c.Kind != Label && (c.Classes != nil || c.Values != nil) {
		return "only the label column has classes and values", "remove them or set `kind: label`"
	}
	switch c.Missing {
	case "", Refuse, Drop, Impute:
	default:
		return fmt.Sprintf("unknown policy %q for missing values", c.Missing), "use refuse, drop or impute"
	}
	if (c.Missing == Impute) != (c.Impute != "") {
		return "`missing: impute` and `impute:` go together", "give both or neither"
	}
	switch c.Kind {
	case Numeric:
		return c.checkNumeric()
	case Categorical:
		if p, r := checkWords(c.Categories, 1, MaxFeatures, "categories", missing); p != "" {
			return p, r
		}
		if c.Missing == Impute && !slices.Contains(c.Categories, c.Impute) {
			return "the value to impute is not one of the categories", "add it to them or impute another"
		}
	case Label:
		if c.Missing == Impute {
			return "a label cannot be imputed", "use `missing: drop`"
		}
		if p, r := checkWords(c.Classes, 2, MaxClasses, "classes", missing); p != "" {
			return p, r
		}
		for from, to := range c.Values {
			if !isWord(from) || slices.Contains(missing, from) || !slices.Contains(c.Classes, to) {
				return "`values` maps something to what is not a class, or maps a missing value", "map what the file says to one of the classes"
			}
			if slices.Contains(c.Classes, from) && from != to {
				return "`values` gives a class the meaning of another", "class names always mean themselves"
			}
		}
	case Ignore:
		if c.Missing != "" {
			return "an ignored column has no policy for missing values", "remove `missing`"
		}
	default:
		return fmt.Sprintf("unknown kind %q", c.Kind), "use numeric, categorical, ignore or label"
	}
	return "", ""
}

func (c *Column) checkNumeric() (problem, remedy string) {
	if c.Missing == Impute && c.Impute != ImputeMean {
		if _, err := parseNumber(c.Impute); err != nil {
			return "the value to impute is not a number", "give a number or `mean`"
		}
	}
	for _, p := range []*float64{c.Mean, c.Std, c.Min, c.Max} {
		if p != nil && !(math.Abs(*p) <= math.MaxFloat32) {
			return "mean, std, min and max must be finite and within single precision", "correct them"
		}
	}
	standard, minmax := c.Mean != nil && c.Std != nil, c.Min != nil && c.Max != nil
	noStandard, noMinmax := c.Mean == nil && c.Std == nil, c.Min == nil && c.Max == nil
	switch c.Normalise {
	case "", NoScale, PerNode:
		if !noStandard || !noMinmax {
			return "this normalisation takes no figures", "remove mean, std, min and max, or set `normalise: standard` or `minmax`"
		}
	case Standard:
		if !standard || !noMinmax || *c.Std <= 0 {
			return "`normalise: standard` needs mean and a positive std, and nothing else", "give both"
		}
	case MinMax:
		if !minmax || !noStandard || *c.Min >= *c.Max {
			return "`normalise: minmax` needs min below max, and nothing else", "give both"
		}
	default:
		return fmt.Sprintf("unknown normalisation %q", c.Normalise), "use none, standard, minmax or per-node"
	}
	if c.Missing == Impute && c.Impute != ImputeMean && c.Normalise != PerNode {
		v, err := parseNumber(c.Impute)
		if err != nil || !finite32(c.scale(v)) {
			return "the value to impute does not fit single precision once normalised", "correct it, or the figures of the normalisation"
		}
	}
	return "", ""
}

// checkWords checks a list of categories or classes: enough, not too many, no
// repetition, none that a cell could not hold.
func checkWords(words []string, least, most int, what string, missing []string) (problem, remedy string) {
	if len(words) < least || len(words) > most {
		return fmt.Sprintf("there are %d %s", len(words), what), fmt.Sprintf("list %d to %d; all nodes need the same layout, so they are not learnt from the rows", least, most)
	}
	seen := make(map[string]bool, len(words))
	for _, w := range words {
		switch {
		case !isWord(w):
			return "one of the " + what + " is empty, has spaces around it or characters that do not print", "correct it"
		case seen[w]:
			return fmt.Sprintf("%q is listed twice among the %s", w, what), "remove one"
		case slices.Contains(missing, w):
			return fmt.Sprintf("%q is among the %s and among the missing values", w, what), "remove one"
		}
		seen[w] = true
	}
	return "", ""
}

// isWord tells whether a trimmed cell of a file can equal s.
func isWord(s string) bool {
	return s != "" && utf8.ValidString(s) && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\ufeff' })
}
