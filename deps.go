//go:build deps

package credence_deps

import (
	_ "github.com/advancedclimatesystems/gonnx"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/maruel/safetensors"
	_ "github.com/pressly/goose/v3"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "github.com/tuneinsight/lattigo/v5/ring"
	_ "github.com/tuneinsight/lattigo/v5/utils/sampling"
	_ "github.com/vbauerster/mpb/v8"
	_ "go.uber.org/goleak"
	_ "go.yaml.in/yaml/v3"
	_ "go4.org/unsafe/assume-no-moving-gc"
	_ "gocloud.dev/blob/fileblob"
	_ "gonum.org/v1/gonum/mat"
	_ "google.golang.org/grpc"
	_ "google.golang.org/grpc/status"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/protobuf/proto"
	_ "gorgonia.org/gorgonia"
	_ "gorgonia.org/tensor"
	_ "modernc.org/sqlite"
	_ "pgregory.net/rapid"
)
