// Package report writes runs as one HTML page that needs nothing else: no
// script, no font, no image and no style from elsewhere, so it opens offline,
// can be sent along, and tells nobody that it was opened. A Content-Security-
// Policy in the page forbids requests, should a later change slip one in.
//
// Charts are SVG drawn here, not pictures: they take their colours from the
// page, which has a light and a dark scheme and prints in black on white. Every
// chart has its figures in a table below it; lines differ in dashes as well as
// in colour. Package plots makes PNG and SVG files for papers.
//
// # What it trusts
//
// Nothing it is given to be harmless text: names and files of a run are
// escaped.
package report
