package main

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"credence/he"
)

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say what this program is", Args: cobra.NoArgs,
		Long:    "Prints the version, the revision it was built from, and the encryption suites\nthat it knows.",
		Example: "  credence version --json",
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string   `json:"version"`
				Revision string   `json:"revision,omitempty"`
				Modified bool     `json:"modified,omitempty"`
				Go       string   `json:"go"`
				Platform string   `json:"platform"`
				Suites   []string `json:"suites"`
			}{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				v.Version = info.Main.Version
				for _, s := range info.Settings {
					switch s.Key {
					case "vcs.revision":
						v.Revision = s.Value
					case "vcs.modified":
						v.Modified = s.Value == "true"
					}
				}
			}
			for _, name := range he.Names() {
				if suite, err := he.LookupSuite(name); err == nil && !suite.Insecure() {
					v.Suites = append(v.Suites, name)
				}
			}
			a.result(v, func() {
				revision := ""
				if v.Revision != "" {
					revision = " " + v.Revision[:min(12, len(v.Revision))]
				}
				if v.Modified {
					revision += " with changes"
				}
				a.printf("credence %s%s, %s, %s\n", v.Version, revision, v.Go, v.Platform)
				a.printf("suites: %s\n", strings.Join(v.Suites, ", "))
			})
			return nil
		},
	}
}
