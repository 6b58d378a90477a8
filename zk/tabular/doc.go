// Package tabular is a data set in the form that proofs speak about: a table
// of small signed integers with a fixed number of rows.
//
// # What
//
//   - [Layout]: capacity, columns and ranges. Every circuit on tables is made
//     for one layout, so its name is the name of a set of keys.
//   - [Spec]: what a job fixes about all its tables: the layout, the schema of
//     the files behind it and the quantisation of values. Its digest is part of
//     every statement about a table.
//   - [Table]: the integers, and how many rows are used.
//
// A row reads
//
//	valid | features 1..F | targets 1..C | marks 1..M
//
// where valid is 1 for the first n rows and 0 for the padding, in which every
// cell is 0. Targets are one-hot classes, one binary class, or numbers on a
// grid. A mark column holds a bit for each of 32 features: set where the file
// had no value and the feature's cell is an imputed one.
//
// # Why
//
// Prover, verifier, trainer and loader must mean the same integers. This
// package has no cryptography in it, so all of them can import it.
//
// # What it trusts
//
// Nothing: [Table.Check] refuses what is outside the layout's ranges. Whether
// the figures in a table are true is beyond any proof about it.
package tabular
