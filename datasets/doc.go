// Package datasets turns a node's own files into labelled examples that a
// trainer can use, and cuts one data set into many for a simulation or a
// demonstration.
//
// # What
//
//   - [Schema]: what the columns of a CSV file mean, how missing values and
//     scales are handled, which rows are held out. A job names a schema by its
//     [Schema.Digest].
//   - [Load]: a strict, bounded loader of CSV, Parquet and NumPy files by one
//     schema; [LoadIDX], [LoadNPZArrays], [ReadCIFAR], [ReadLEAF]: of images.
//   - [Builtin]: two small public data sets of real measurements, embedded,
//     with one fixed split each.
//   - [IID], [Dirichlet], [QuantitySkew], [ByValue]: seeded partitioners.
//   - [LoadTable], [Tabulate]: a table of integers for proofs about the data
//     (package tabular); [Schema.Requirements]: what a job asks of it.
//   - [Dataset.WriteNode]: a client's part as a CSV file and a schema that
//     [LoadCSV] reads back to the very same bits.
//
// # Why a schema
//
// In a federation the parameter vectors of all clients are added up, so input
// i must mean the same thing everywhere. Nothing that decides the layout is
// learnt from a node's rows: categories and classes are listed in the schema,
// in order, and a value outside the list is an error. Only two things may
// depend on a node's rows, and only because the schema says so: an imputed
// mean and per-node standardisation, both taken from training rows alone.
//
// # What it trusts
//
// The schema's author, once [Schema.Validate] has passed, and the node's own
// operating system. It does not trust the files: lines, rows, values and IDX
// headers are bounded before memory is spent on them. Errors name file, line
// and column and never quote a cell, because a cell may be about a person and
// an error may travel to a log elsewhere.
package datasets
