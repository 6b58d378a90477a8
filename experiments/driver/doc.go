// Package driver runs experiments: every cell of the sweep with every seed, one
// training after the other, each with all processors, and keeps what comes out
// in a run folder (package runs).
//
// A run can be interrupted or killed at any moment and resumed: the rounds
// since the last checkpoint are made again, to the same bits. Bad input is
// refused before the folder is made where that is possible; what only shows
// while training (a loss that is not a number) ends the run, keeps what was
// done and says where.
//
// It trusts its user, whose data and configuration these are.
package driver
