package datasets

import (
	"fmt"
	"slices"

	"credence/zk/tabular"
)

// A Requirement is what a job asks of one column of every node's training
// rows, in the units of the file. Nil means nothing.
type Requirement struct {
	// Column is a numeric column, a categorical one (MissingMax alone), or one
	// category of it as "column=category" (its mean is the category's share).
	Column string `yaml:"column" json:"column"`

	Min     *float64 `yaml:"min,omitempty" json:"min,omitempty"`
	Max     *float64 `yaml:"max,omitempty" json:"max,omitempty"`
	MeanMin *float64 `yaml:"mean_min,omitempty" json:"mean_min,omitempty"`
	MeanMax *float64 `yaml:"mean_max,omitempty" json:"mean_max,omitempty"`
	// Standard deviation of the population.
	StdMin *float64 `yaml:"std_min,omitempty" json:"std_min,omitempty"`
	StdMax *float64 `yaml:"std_max,omitempty" json:"std_max,omitempty"`
	// MissingMax is the largest share of rows without a value, in [0,1].
	MissingMax *float64 `yaml:"missing_max,omitempty" json:"missing_max,omitempty"`
}

// Requirements translates requirements on columns and on classes (the fewest
// rows of each) to the features that a model sees, for the proof that a node's
// table meets them (tabular.Requirements.Limits). Values are normalised as the
// schema says; a column that every node normalises by its own figures can only
// bound its missing values. The layout is that of the job's table.
func (s *Schema) Requirements(l tabular.Layout, columns []Requirement, classes map[string]int) (tabular.Requirements, error) {
	var none tabular.Requirements
	refuse := func(column, problem, remedy string) (tabular.Requirements, error) {
		return none, &Error{Kind: ErrSchema, Column: column, Problem: problem, Remedy: remedy}
	}
	if err := s.Validate(); err != nil {
		return none, err
	}
	if s.Features() != l.Features || !fits(len(s.Classes()), l) {
		return refuse("", fmt.Sprintf("the table %s is not for this schema's %d features and %d classes", l.Name(), s.Features(), len(s.Classes())), "make the job's table for its schema")
	}
	out := tabular.Requirements{Numbers: make([]tabular.NumberRequirements, l.Numbers())}
	seen := map[string]bool{}
	for _, q := range columns {
		if seen[q.Column] {
			return refuse(q.Column, "there are two requirements on this column", "join them")
		}
		seen[q.Column] = true
		c, first, count := s.find(q.Column)
		bounds := q.Min != nil || q.Max != nil || q.MeanMin != nil || q.MeanMax != nil || q.StdMin != nil || q.StdMax != nil
		switch {
		case c == nil:
			return refuse(q.Column, "a requirement on a column that is no feature", "name a numeric or categorical column, or column=category")
		case bounds && count > 1:
			return refuse(q.Column, "bounds on a categorical column", "bound the share of a category as column=category, or its missing values")
		case bounds && c.Kind == Numeric && c.Normalise == PerNode:
			return refuse(q.Column, "bounds on a column that every node normalises by its own figures", "agree on figures, or bound its missing values alone")
		case q.StdMin != nil && *q.StdMin < 0 || q.StdMax != nil && *q.StdMax < 0:
			return refuse(q.Column, "a negative standard deviation", "give zero or more")
		}
		for f := first; f < first+count; f++ {
			n := &out.Numbers[f]
			n.Min, n.Max, n.MeanMin, n.MeanMax = c.moved(q.Min), c.moved(q.Max), c.moved(q.MeanMin), c.moved(q.MeanMax)
			n.VarianceMin, n.VarianceMax = c.spread(q.StdMin), c.spread(q.StdMax)
			if q.MissingMax != nil {
				n.MissingMax = q.MissingMax
			}
		}
	}
	if len(classes) == 0 {
		return out, nil
	}
	if l.Classes() == 0 {
		return refuse("", "rows of a class are required of a table without classes", "remove them")
	}
	out.Classes = make([]int, l.Classes())
	for name, least := range classes {
		k := slices.Index(s.Classes(), name)
		if k < 0 {
			return refuse("", fmt.Sprintf("rows of class %q are required, which the schema does not list", name), "correct its name")
		}
		out.Classes[k] = least
	}
	return out, nil
}

// find returns a feature column by its name or by that of a category, its
// first feature, and how many it names.
func (s *Schema) find(name string) (*Column, int, int) {
	first := 0
	for i := range s.Columns {
		c := &s.Columns[i]
		switch c.Kind {
		case Numeric:
			if c.Name == name {
				return c, first, 1
			}
			first++
		case Categorical:
			if c.Name == name {
				return c, first, len(c.Categories)
			}
			for k, v := range c.Categories {
				if c.Name+"="+v == name {
					return c, first + k, 1
				}
			}
			first += len(c.Categories)
		}
	}
	return nil, 0, 0
}

// moved normalises a bound on values or on their mean.
func (c *Column) moved(v *float64) *float64 {
	if v == nil || c.Kind != Numeric {
		return v
	}
	x := c.scale(*v)
	return &x
}

// spread turns a bound on the standard deviation into one on the variance of
// normalised values.
func (c *Column) spread(std *float64) *float64 {
	if std == nil {
		return nil
	}
	unit := 1.0
	switch {
	case c.Kind != Numeric:
	case c.Normalise == Standard:
		unit = *c.Std
	case c.Normalise == MinMax:
		unit = *c.Max - *c.Min
	}
	x := *std / unit
	x *= x
	return &x
}
