// Package population makes the virtual clients of an experiment: it loads the
// rows that the file names and divides them.
//
// Loading happens once for a run; dividing once for each training, because a
// sweep may vary the division and every repeat has a seed of its own. What it
// refuses: rows that are not finite, a client without a training row, and a
// class that is tested and never trained on, each with the place and what to
// do.
//
// It trusts the schema's author and the user's files no more than package
// datasets does.
package population
