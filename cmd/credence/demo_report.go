package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"credence/fl"
	"credence/fl/credit"
)

// print ends the demonstration with what came out of it.
func (d *demo) print(r demoReport) {
	a := d.app
	if a.json {
		a.line(r)
		return
	}
	heading := func(text string) { a.printf("\n%s\n", a.style.bold(text)) }

	heading(fmt.Sprintf("Accuracy on all %d test rows, after %.0f s", r.Federated.Count, r.Seconds))
	line := func(label string, s score) {
		a.printf("  %-36s %5.1f %%   %d of %d\n", label, 100*s.Accuracy, s.Correct, s.Count)
	}
	line(fmt.Sprintf("federated, %d encrypted rounds", r.Version), r.Federated)
	line("central, all rows in one place", r.Central)
	verdict := a.style.green("within one point")
	if math.Abs(r.Points) > 1 {
		verdict = a.style.red("more than one point") + ": more --rounds bring it closer"
	}
	a.printf("  %-36s %5.1f points, %s\n", "difference", math.Abs(r.Points), verdict)
	for _, s := range r.Alone {
		line(s.Name+" alone", s)
	}

	if r.Proofs > 0 {
		heading("Proofs")
		a.printf("  %d made, %.1f s each while the four shared this machine; each was checked by\n", r.Proofs, r.ProofTime/float64(r.Proofs))
		a.printf("  the aggregator on receipt and by every member before it helped to open a sum\n")
	}

	heading("Credits")
	a.printBalances("  ", r.Balances)

	heading("Published model")
	a.printf("  %s and %s\n", r.Safetensors, r.ONNX)
	a.printf("  %s, signed: version %d, %s\n", r.Manifest, r.Version, r.ManifestID.Short())

	heading("What was protected, and what was not")
	a.printf(`  Each update was encrypted under a key that no party holds. Only sums of at
  least %d updates were opened, by at least %d of the 4 members; the aggregator
  saw ciphertexts and sums. Every message was signed and sent over mutual TLS.

%s
  Epsilon %s: no noise was added for differential privacy, so the model may
  tell something about its data.
  Any %d members who conspire with the aggregator could open single updates. Here
  all parties share one process and one disk; in earnest each runs on its own.
`, demoMinCohort, demoThreshold, provenAt(r.ProofLevel, d.setup), r.Epsilon, demoThreshold)

	heading("What to try next")
	d.printNext()
}

// provenAt says in words what a proof level proves, and what it does not.
func provenAt(level fl.ProofLevel, setup string) string {
	if !level.Attested() {
		return `  Proof level none: that an update is well-formed and comes from real training,
  and that the sum is the sum, rests on the parties' honesty.`
	}
	keys := "The proof keys come from a ceremony, of which one honest\n  contributor is enough."
	if setup != fl.SetupCeremony {
		keys = "The proof keys come from a local set-up, whose maker can forge proofs."
	}
	if level.Trained() {
		return `  Proof level trained: every update was proven to be a well-formed encryption of
  what the job's steps, from the published model, give on the rows that its
  hospital committed to when it joined; the number of rows, and what the job
  requires of them, were proven too. Each member checked the proofs and the sum
  before it helped to open it. It is not proven that the data are true, that
  labels were not flipped or rows repeated before the commitment, or that a
  hospital has no other data.
  ` + keys
	}
	return `  Proof level bounded: every update was proven to be a well-formed encryption of
  values within their bounds, and each member checked the proofs and the sum
  before it helped to open it. That an update comes from real training is not
  proven. ` + keys
}

// printNext prints commands that work on the demonstration's folder.
func (d *demo) printNext() {
	a, p, dir := d.app, program(), quote(d.opts.dir)
	say := func(comment string, commands ...string) {
		a.printf("  %s\n", a.style.dim("# "+comment))
		for _, c := range commands {
			if at := strings.LastIndex(c, " --dir "); len(c) > 76 && at > 0 {
				c = c[:at] + " \\\n     " + c[at:]
			}
			a.printf("  %s\n", c)
		}
	}
	if p == goRun {
		p = dir + "/credence"
		say("build the program", "go build -o "+p+" ./cmd/credence")
	}
	agg := " --dir " + dir + "/aggregator"
	say("what happened", p+" federation status"+agg, p+" ledger history"+agg)
	if d.opts.keep {
		say("in another terminal, while this federation runs: a second job")
	} else {
		serve := p + " aggregator serve"
		if d.fed.Address() != defaultListen {
			serve += " --listen " + d.fed.Address()
		}
		var all []string
		for _, h := range hospitals {
			all = append(all, string(h))
		}
		say("the same parties as processes of their own, and a second job",
			serve+agg+" &",
			"for n in "+strings.Join(all, " ")+"; do",
			"  "+p+" node run --dir "+dir+"/$n & done")
	}
	owner := " --dir " + dir + "/" + string(demoOwner)
	say("(edit job.yaml first, if you like)",
		p+" job submit "+dir+"/job.yaml"+owner,
		p+" job watch screening-2"+owner,
		p+" model pull screening-2 -o "+dir+"/second.safetensors"+owner)
	if !d.opts.keep {
		say("stop them again", "kill $(jobs -p)")
	}
}

// quote makes a path safe to copy into a shell.
func quote(path string) string {
	if strings.ContainsAny(path, " \t'\"$&;()<>|*?`\\") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

// printBalances prints accounts and their sum, which is zero.
func (a *app) printBalances(indent string, balances map[string]int64) {
	t := table{head: []string{"Account", ">Credits", ""}}
	var sum int64
	for _, account := range slices.Sorted(maps.Keys(balances)) {
		note := ""
		if account == credit.Issuer {
			note = "minus what was ever granted"
		}
		t.add(account, fmt.Sprint(balances[account]), note)
		sum += balances[account]
	}
	t.add("sum", fmt.Sprint(sum), "")
	a.table(indent, t)
}
