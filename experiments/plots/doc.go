// Package plots draws figures for papers and slides as PNG or SVG files with
// gonum/plot: curves with bands over seeds, and how the rows of a data set are
// divided among clients. They are functions of numbers alone and read no files.
//
// Colours are those of Okabe and Ito ("Color universal design", 2008), which
// stay apart for readers who see fewer; lines also differ in dashes. For the
// page that a browser shows, package report draws its own.
package plots
