package datasets

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"credence/fl"
)

// A record of CIFAR-10's binary version (Krizhevsky 2009): a label and 32x32
// pixels of red, then green, then blue.
const (
	CIFARFeatures = 3 * 32 * 32
	CIFARClasses  = 10
	maxCIFARRows  = 1 << 16
)

// ReadCIFAR decodes a batch of the binary version of CIFAR-10 to its end. name
// is what errors call it. X are red, green and blue in row-major order, scaled
// by 1/255 to [0,1]. Errors are of kind ErrFormat, ErrLabel or ErrLimit and name
// the row.
func ReadCIFAR(name string, r io.Reader) (fl.Examples, error) {
	e := fl.Examples{Features: CIFARFeatures, Classes: CIFARClasses}
	bad := func(kind error, problem, remedy string, cause error) (fl.Examples, error) {
		return fl.Examples{}, &Error{Kind: kind, File: name, Row: e.Rows + 1, Problem: problem, Remedy: remedy, Err: cause}
	}
	br := bufio.NewReaderSize(r, 1<<16)
	record := make([]byte, 1+CIFARFeatures)
	for {
		_, err := io.ReadFull(br, record)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bad(ErrFormat, fmt.Sprintf("the file ends within a record of %d bytes", len(record)), "fetch it again", err)
		}
		if e.Rows == maxCIFARRows {
			return bad(ErrLimit, fmt.Sprintf("more than %d records", maxCIFARRows), "this is no batch of CIFAR-10", nil)
		}
		if record[0] >= CIFARClasses {
			return bad(ErrLabel, "the label is not a class from 0 to 9", "check that this is the binary version of CIFAR-10", nil)
		}
		e.Y = append(e.Y, int32(record[0]))
		for _, v := range record[1:] {
			e.X = append(e.X, float32(float64(v)/255))
		}
		e.Rows++
	}
	if e.Rows == 0 {
		return bad(ErrFormat, "the file is empty", "fetch it again", nil)
	}
	return e, nil
}

// FEMNIST of LEAF (Caldas et al. 2018, arXiv:1812.01097): images of handwritten
// digits and letters by writer.
const (
	FEMNISTFeatures = 28 * 28
	FEMNISTClasses  = 62
	maxLEAFBytes    = 1 << 30
)

// ReadLEAF decodes a JSON file of the LEAF benchmark,
//
//	{"users": [u, ...], "num_samples": [n, ...],
//	 "user_data": {u: {"x": [[...], ...], "y": [...]}}}
//
// in the order of "users"; other members are ignored. Every x has the given
// number of features, y lies in [0, classes). users[i] is the user of example
// i. Errors name the user by place, never by name: a name may be a person's.
func ReadLEAF(name string, r io.Reader, features, classes int) (e fl.Examples, users []string, err error) {
	e = fl.Examples{Features: features, Classes: classes}
	bad := func(kind error, row int, problem, remedy string, cause error) (fl.Examples, []string, error) {
		return fl.Examples{}, nil, &Error{Kind: kind, File: name, Row: row, Problem: problem, Remedy: remedy, Err: cause}
	}
	if features < 1 || features > MaxFeatures || classes < 2 || classes > MaxClasses {
		return bad(ErrLimit, 0, fmt.Sprintf("%d features and %d classes", features, classes), "check what the file holds", nil)
	}
	var file struct {
		Users   []string `json:"users"`
		Samples []int    `json:"num_samples"`
		Data    map[string]struct {
			X [][]float64 `json:"x"`
			Y []int       `json:"y"`
		} `json:"user_data"`
	}
	text, err := io.ReadAll(io.LimitReader(r, maxLEAFBytes+1))
	if err != nil {
		return bad(ErrFormat, 0, "the file cannot be read", "copy it again", err)
	}
	if len(text) > maxLEAFBytes {
		return bad(ErrLimit, 0, fmt.Sprintf("a file of more than %d bytes", maxLEAFBytes), "LEAF writes several smaller ones; use those", nil)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&file); err != nil {
		var syntax *json.SyntaxError
		problem := "this is not JSON of LEAF's form"
		if errors.As(err, &syntax) {
			problem = fmt.Sprintf("byte %d: this is not JSON", syntax.Offset)
		}
		return bad(ErrFormat, 0, problem, "check that the file is complete and made by LEAF's preprocess.sh", nil)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return bad(ErrFormat, 0, "something follows the JSON value", "copy the file again", nil)
	}
	seen := make(map[string]bool, len(file.Users))
	for place, user := range file.Users {
		data, ok := file.Data[user]
		switch {
		case seen[user]:
			return bad(ErrFormat, e.Rows+1, fmt.Sprintf("user %d is listed twice", place+1), "make the file again", nil)
		case !ok:
			return bad(ErrFormat, e.Rows+1, fmt.Sprintf("user %d has no data", place+1), "make the file again", nil)
		case len(data.X) != len(data.Y) || len(file.Samples) != len(file.Users) || file.Samples[place] != len(data.Y):
			return bad(ErrFormat, e.Rows+1, fmt.Sprintf("user %d: images, labels and num_samples disagree", place+1), "make the file again", nil)
		}
		seen[user] = true
		for i, x := range data.X {
			row := e.Rows + 1
			if len(x) != features {
				return bad(ErrFormat, row, fmt.Sprintf("%d values where an example has %d", len(x), features), "check that this is the right data set", nil)
			}
			if len(e.X) > MaxValues-features {
				return bad(ErrLimit, row, fmt.Sprintf("more than %d values", MaxValues), "take fewer users (LEAF's --sf)", nil)
			}
			for _, v := range x {
				if !finite32(v) || math.IsNaN(v) {
					return bad(ErrValue, row, "a value is not a finite number of single precision", "make the file again", nil)
				}
				e.X = append(e.X, float32(v))
			}
			if y := data.Y[i]; y < 0 || y >= classes {
				return bad(ErrLabel, row, fmt.Sprintf("the label is not a class from 0 to %d", classes-1), "check that this is the right data set", nil)
			}
			e.Y = append(e.Y, int32(data.Y[i])) // #nosec G115 -- compared just above
			users = append(users, user)
			e.Rows++
		}
	}
	if e.Rows == 0 {
		return bad(ErrFormat, 0, "the file has no example", "make it again", nil)
	}
	return e, users, nil
}
