package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"credence/client"
	"credence/fl"
)

// party is an enrolled party at work from the command line.
type party struct {
	home   *client.Home
	remote *client.Remote
}

// withParty connects as the party in dir and does work.
func (a *app) withParty(ctx context.Context, dir string, work func(*party) error) error {
	if err := needDir(dir); err != nil {
		return err
	}
	home, remote, err := client.OpenParty(ctx, dir, time.Now)
	if err != nil {
		return explain(err, filepath.Join(dir, "node.yaml"))
	}
	err = work(&party{home: home, remote: remote})
	return explain(errors.Join(err, remote.Close()), filepath.Join(dir, "node.yaml"))
}

// explain puts a connection that failed into words; where says who chose the
// address. A refusal is in words already.
func explain(err error, where string) error {
	if err == nil || fl.CodeOf(err) != "" {
		return err
	}
	var coded interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &coded) {
		return err
	}
	switch st := coded.GRPCStatus(); st.Code() {
	case codes.Unavailable:
		return fmt.Errorf("the aggregator cannot be reached: %s; is it running, and is the address in %s right?", connectionError(st.Message()), where)
	case codes.DeadlineExceeded:
		return fmt.Errorf("the aggregator did not answer in time: %s; try again", st.Message())
	}
	return err
}

// connectionError takes the wrapping off what gRPC says of a connection.
func connectionError(message string) string {
	message = strings.TrimPrefix(message, "connection error: desc = ")
	if inner, err := strconv.Unquote(message); err == nil {
		message = inner
	}
	return strings.TrimPrefix(strings.TrimPrefix(message, "transport: "), "Error while dialing: ")
}
