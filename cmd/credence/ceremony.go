package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"credence/client"
	"credence/fl"
	"credence/zk"
	"credence/zk/ceremony"
)

func newCeremony(a *app) *cobra.Command {
	cmd := group("ceremony", "Make the proving keys together", `Makes the keys of the attestations so that nobody could forge one, as long as a
single contributor is honest. The ceremony is a folder that the institutions
pass on: start, everybody contributes, seal, everybody contributes again, seal.
Anybody can verify it at any time, and make the sealed keys again from it.`)
	cmd.AddCommand(newCeremonyKey(a), newCeremonyStart(a), newCeremonyContribute(a), newCeremonyVerify(a), newCeremonySeal(a), newCeremonyStatus(a))
	return cmd
}

func ceremonyFlag(cmd *cobra.Command, dir *string) {
	dirFlag(cmd, dir, "folder of the ceremony")
}

func needCeremony(dir string) error {
	if dir == "" {
		return usagef("--dir is missing: want the folder of the ceremony")
	}
	return nil
}

// bar shows progress as a live line of at most 79 columns.
func (a *app) bar(stage string, done, total int) {
	const width = 24
	full := width * min(done, total) / max(total, 1)
	a.progress(fmt.Sprintf("[%s%s] %3d %%  %s", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*min(done, total)/max(total, 1), clip(stage, 46)))
}

func newCeremonyKey(a *app) *cobra.Command {
	var party string
	cmd := &cobra.Command{
		Use: "key", Short: "Print a party's name and public key", Args: cobra.NoArgs,
		Long:    "Prints what whoever starts the ceremony needs to list a party: NAME=KEY.",
		Example: "  credence federation ceremony key --party st-alba",
		RunE: func(*cobra.Command, []string) error {
			home, err := openContributor(party)
			if err != nil {
				return err
			}
			key := hex.EncodeToString(home.Keys.SigningPublic())
			a.result(map[string]any{"name": home.Node, "key": key}, func() { a.printf("%s=%s\n", home.Node, key) })
			return nil
		},
	}
	cmd.Flags().StringVar(&party, "party", "", "folder of the enrolled party")
	return cmd
}

func openContributor(party string) (*client.Home, error) {
	if party == "" {
		return nil, usagef("--party is missing: want the folder of the enrolled party")
	}
	return client.OpenHome(party)
}

// parseParticipant reads NAME=KEY, where KEY is 64 hexadecimal characters or a
// file that holds them, alone or as NAME=KEY.
func parseParticipant(text string) (ceremony.Participant, error) {
	name, value, ok := strings.Cut(text, "=")
	p := ceremony.Participant{Name: fl.NodeID(name)}
	if err := p.Name.Validate(); !ok || err != nil {
		return p, usagef("--participant %q: want NAME=KEY", text)
	}
	key, err := hex.DecodeString(value)
	if err != nil || len(key) != ed25519.PublicKeySize {
		b, readErr := os.ReadFile(value)
		if readErr != nil {
			return p, usagef("--participant %s: %q is neither %d hexadecimal characters nor a file that can be read", name, clip(value, 80), 2*ed25519.PublicKeySize)
		}
		content := strings.TrimPrefix(strings.TrimSpace(string(b)), name+"=")
		if key, err = hex.DecodeString(content); err != nil || len(key) != ed25519.PublicKeySize {
			return p, usagef("--participant %s: file %s does not hold %d hexadecimal characters", name, value, 2*ed25519.PublicKeySize)
		}
	}
	p.Key = key
	return p, nil
}

func newCeremonyStart(a *app) *cobra.Command {
	var dir string
	var listed []string
	o := ceremony.Options{}
	cmd := &cobra.Command{
		Use: "start", Short: "Start a ceremony in a new folder", Args: cobra.NoArgs,
		Long: `Starts a ceremony for the circuits of a suite. The participants contribute in
the order in which they are listed. With --open anybody may contribute, in any
order; then it is up to those who verify whom they know.`,
		Example: "  credence federation ceremony start --dir ceremony --suite rlwe8192-d4-v1 \\\n    --participant st-alba=st-alba.key --participant borealis=9f0c...41",
		RunE: func(*cobra.Command, []string) error {
			if err := needCeremony(dir); err != nil {
				return err
			}
			if o.Open == (len(listed) > 0) {
				return usagef("want either --participant, once for each, or --open")
			}
			for _, l := range listed {
				p, err := parseParticipant(l)
				if err != nil {
					return err
				}
				o.Participants = append(o.Participants, p)
			}
			o.AllowInsecure, o.Progress = a.insecure, a.bar
			s, err := ceremony.Found(dir, o)
			a.progress("")
			if err != nil {
				return err
			}
			a.result(s, func() {
				a.printf("Ceremony %s for %s: pass on the folder %s.\n", s.Ceremony.Short(), s.Suite, dir)
				a.printNextInCeremony(s, dir)
			})
			return nil
		},
	}
	ceremonyFlag(cmd, &dir)
	f := cmd.Flags()
	f.StringVar(&o.Suite, "suite", "rlwe8192-d4-v1", "encryption suite whose circuits the keys are for")
	f.StringArrayVar(&listed, "participant", nil, "NAME=KEY of a participant, KEY in hexadecimal or a file; repeatable")
	f.BoolVar(&o.Open, "open", false, "let anybody contribute")
	f.IntVar(&o.Minimum, "min", 2, "fewest contributors in each phase")
	return cmd
}

func newCeremonyContribute(a *app) *cobra.Command {
	var dir, party string
	o := ceremony.ContributeOptions{}
	cmd := &cobra.Command{
		Use: "contribute", Short: "Add a party's secrets to the keys", Args: cobra.NoArgs,
		Long: `Draws secret numbers, multiplies them into the keys of the open phase, signs the
result with the party's key and forgets the numbers. It may be interrupted and
repeated. Keep the receipts: verify --expect shows that a contribution stayed.`,
		Example: "  credence federation ceremony contribute --dir ceremony --party st-alba",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needCeremony(dir); err != nil {
				return err
			}
			home, err := openContributor(party)
			if err != nil {
				return err
			}
			o.Progress = a.bar
			made, err := ceremony.Contribute(cmd.Context(), dir, home.Node, home.Keys.Signing, o)
			a.progress("")
			if err != nil && len(made) == 0 {
				return err
			}
			// What was complete before an error stays, so its receipt counts.
			a.result(map[string]any{"contributor": home.Node, "receipts": made, "complete": err == nil}, func() {
				for _, e := range made {
					a.printf("%s contributed to %s. Receipt: %s\n", e.Contributor, chainName(e), e.File)
				}
				if err == nil {
					a.printf("Pass on the folder %s.\n", dir)
				}
			})
			return err
		},
	}
	ceremonyFlag(cmd, &dir)
	cmd.Flags().StringVar(&party, "party", "", "folder of the enrolled party that contributes")
	cmd.Flags().BoolVar(&o.PassOver, "pass-over", false, "do not wait for listed participants before this one")
	return cmd
}

func chainName(e ceremony.Entry) string {
	if e.Circuit != "" {
		return e.Circuit
	}
	return string(e.Phase)
}

// openKeys opens the folder for keys, if one is named.
func openKeys(dir string) (*zk.Store, error) {
	if dir == "" {
		return nil, nil
	}
	return zk.OpenStore(dir)
}

func newCeremonyVerify(a *app) *cobra.Command {
	var dir, store string
	var expect []string
	cmd := &cobra.Command{
		Use: "verify", Short: "Verify everything, and make the sealed keys again", Args: cobra.NoArgs,
		Long: `Verifies every signature, file and proof, the beacons, and that the sealed keys
follow from them. What does not hold is named with its contributor. With --store
the keys that were made on the way are kept: trust those, and nobody's copy.`,
		Example: "  credence federation ceremony verify --dir c --store keys --expect 5be1...c0",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needCeremony(dir); err != nil {
				return err
			}
			o := ceremony.VerifyOptions{Progress: a.bar}
			for _, e := range expect {
				d, err := fl.ParseDigest(e)
				if err != nil {
					return usagef("--expect %q is no receipt: want its 64 hexadecimal characters", e)
				}
				o.Expect = append(o.Expect, d)
			}
			var err error
			if o.Store, err = openKeys(store); err != nil {
				return err
			}
			s, err := ceremony.Verify(cmd.Context(), dir, o)
			a.progress("")
			if err != nil {
				return err
			}
			a.result(map[string]any{"verified": true, "status": s}, func() {
				a.printCeremony(s)
				a.printf("Verified: every contribution holds.\n")
				if store != "" {
					a.printf("The keys, made again from the contributions, are in %s.\n", store)
				}
			})
			return nil
		},
	}
	ceremonyFlag(cmd, &dir)
	cmd.Flags().StringVar(&store, "store", "", "folder to keep the sealed keys in")
	cmd.Flags().StringSliceVar(&expect, "expect", nil, "receipt of a contribution that must be in; repeatable")
	return cmd
}

func newCeremonySeal(a *app) *cobra.Command {
	var dir, beacon, store string
	o := ceremony.SealOptions{}
	cmd := &cobra.Command{
		Use: "seal", Short: "End a phase with a public beacon", Args: cobra.NoArgs,
		Long: `Verifies everything so far and ends the open phase. The beacon is a public
random value that nobody could foretell when the last contribution was made,
such as a round of a public randomness service that was announced beforehand;
each phase needs its own. The second seal makes the keys.`,
		Example: "  credence federation ceremony seal --dir c --beacon 8d61...f3 --store keys",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needCeremony(dir); err != nil {
				return err
			}
			b, err := hex.DecodeString(beacon)
			if err != nil || len(b) == 0 {
				return usagef("--beacon: want a public random value in hexadecimal")
			}
			before, err := ceremony.ReadStatus(dir)
			if err != nil {
				return err
			}
			if before.Phase == ceremony.PhaseCircuits {
				if store == "" {
					return usagef("--store is missing: the last seal makes the keys, want a folder for them")
				}
				if o.Store, err = openKeys(store); err != nil {
					return err
				}
			}
			o.Progress = a.bar
			s, err := ceremony.Seal(cmd.Context(), dir, b, o)
			a.progress("")
			if err != nil {
				return err
			}
			a.result(s, func() {
				a.printf("Phase %s is sealed.\n", before.Phase)
				if s.Phase == ceremony.PhaseSealed {
					a.printf("The keys are in %s.\n", store)
				}
				a.printNextInCeremony(s, dir)
			})
			return nil
		},
	}
	ceremonyFlag(cmd, &dir)
	cmd.Flags().StringVar(&beacon, "beacon", "", "public random value, at least 16 bytes in hexadecimal")
	cmd.Flags().StringVar(&store, "store", "", "folder for the keys (last seal)")
	cmd.Flags().BoolVar(&o.PassOver, "pass-over", false, "seal without listed participants that have not contributed")
	return cmd
}

func newCeremonyStatus(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "status", Short: "Show who contributed and what comes next", Args: cobra.NoArgs,
		Long:    "Shows the phase, the contributions and whose turn it is. It checks signatures\nand order; verify checks all.",
		Example: "  credence federation ceremony status --dir ceremony",
		RunE: func(*cobra.Command, []string) error {
			if err := needCeremony(dir); err != nil {
				return err
			}
			s, err := ceremony.ReadStatus(dir)
			if err != nil {
				return err
			}
			a.result(s, func() {
				a.printCeremony(s)
				a.printNextInCeremony(s, dir)
			})
			return nil
		},
	}
	ceremonyFlag(cmd, &dir)
	return cmd
}

func (a *app) printCeremony(s *ceremony.Status) {
	a.printf("Ceremony %s for %s, phase %s\n", a.style.bold(s.Ceremony.Short()), s.Suite, s.Phase)
	t := table{head: []string{"Keys", ">No", "Contributor", "Receipt"}}
	for _, c := range s.Chains {
		for _, e := range c.Entries {
			t.add(clip(c.Name, 32), fmt.Sprint(e.Sequence), clip(string(e.Contributor), 24), e.File.Short())
		}
		for _, name := range c.Passed {
			t.add(clip(c.Name, 32), "-", clip(string(name), 24), "passed over")
		}
	}
	if len(t.rows) > 0 {
		a.table("", t)
	}
	for i, b := range s.Beacons {
		a.printf("Beacon %d: %s\n", i+1, b)
	}
	for _, k := range s.Keys {
		a.printf("Keys of %s: manifest %s\n", k.Shape, k.Manifest)
	}
}

// printNextInCeremony says what comes next.
func (a *app) printNextInCeremony(s *ceremony.Status, dir string) {
	if s.Phase == ceremony.PhaseSealed {
		a.printf("Next, everywhere: credence federation ceremony verify --dir %s --store KEYS\n", dir)
		return
	}
	// The chain that is least far says what is missing.
	var c *ceremony.ChainState
	for i := range s.Chains {
		open := (s.Chains[i].Name == string(ceremony.PhasePowers)) == (s.Phase == ceremony.PhasePowers)
		if open && (c == nil || len(s.Chains[i].Entries) < len(c.Entries)) {
			c = &s.Chains[i]
		}
	}
	switch {
	case c == nil:
	case len(c.Missing) > 0:
		a.printf("Next: %s contributes to phase %s.\n", c.Missing[0], s.Phase)
	case len(c.Entries) < s.Minimum:
		a.printf("Next: %s to phase %s before it can be sealed.\n", plural(s.Minimum-len(c.Entries), "more contribution"), s.Phase)
	default:
		a.printf("Next: credence federation ceremony seal --dir %s --beacon HEX\n", dir)
	}
}
