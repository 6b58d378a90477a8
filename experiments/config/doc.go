// Package config reads experiments: one YAML file that says what to train, on
// which data, how it is divided, and what is varied. The same file is a job for
// a live federation: what matters in a simulation alone (data, partition,
// attacks, simulation) is then left aside, and what would make several jobs of
// it (repeats, seeds, sweep) is refused.
//
// Decoding is strict. An unknown key, a key given twice, an anchor or alias, a
// second document and a value out of its range are errors that name the file
// and the line. The file is bounded in size and in the width of its mappings
// before the YAML library compares keys, which it does pairwise.
//
// It trusts nothing in the file. It reads no other file: package population
// loads the data that an experiment names.
package config
