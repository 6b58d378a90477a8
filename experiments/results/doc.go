// Package results reads what runs wrote and says what it amounts to: curves
// over the rounds, means and deviations over the seeds, how fairly accuracy is
// spread over clients, what was sent, spent and paid, and how likely it is that
// two settings differ by chance alone.
//
// # Over the seeds
//
// A group is one cell of a run's sweep: the same settings, trained once a seed.
// Figures of a group are the mean and the sample standard deviation (n-1) over
// its trainings. That spread is one of seeds: initial parameters, division of
// the rows, order, rounding. It says nothing about other data.
//
// # Differences
//
// Groups that were trained with equal seeds are compared seed by seed (paired
// Student's t test), others as independent samples of unequal variance (Welch,
// Biometrika 34, 1947). Both assume differences that are roughly normal, which a
// handful of seeds cannot show; with several comparisons the probabilities are
// corrected by Holm's method (Scandinavian Journal of Statistics 6, 1979). The
// result is a hint, and every place that shows it says so.
//
// # What it trusts
//
// Nothing in a folder beyond what package runs checks: values that are absent
// are left out, and counts that cannot be are bounded or ignored.
package results
