package aggregator

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"credence/fl"
	"credence/fl/flpb"
	"credence/fl/identity"
)

// TestBadEnrolment tries to get in without an invitation.
func TestBadEnrolment(t *testing.T) {
	t.Parallel()
	b := newBench(t, "alpha", "beta")
	b.serve()
	api := flpb.NewEnrolmentClient(b.dial(nil))
	token, err := b.a.Invite(b.ctx, InviteOptions{Node: "new", Roles: []fl.Role{fl.RoleNode}})
	b.must(err)
	keys, err := identity.Generate()
	b.must(err)
	newcomer := &party{b: b, name: "new", keys: keys}
	csr, err := identity.NewCSR("new", keys)
	b.must(err)
	request := identity.EnrolmentRequest{
		Genesis: b.a.genesisID, Token: identity.SecretDigest(token.Secret), Node: "new", SigningKey: keys.SigningPublic(), CSR: fl.DigestBytes(csr),
	}
	enrol := func(secret, csr, document []byte) error {
		_, err := api.Enrol(b.ctx, &flpb.EnrolRequest{Token: secret, Csr: csr, Document: document})
		return flpb.FromStatus(err)
	}
	change := func(f func(r *identity.EnrolmentRequest)) []byte {
		r := request
		f(&r)
		return newcomer.sign(r).Encode()
	}
	good := newcomer.sign(request).Encode()
	wrongSecret := bytes.Repeat([]byte{1}, 32)
	cases := []struct {
		name     string
		want     fl.Code
		sender   fl.NodeID
		secret   []byte
		csr      []byte
		document []byte
	}{
		{"no document", fl.CodeMalformed, "", token.Secret, csr, nil},
		{"a document cut short", fl.CodeMalformed, "", token.Secret, csr, good[:50]},
		{"another federation", fl.CodeWrongAddressee, "new", token.Secret, csr, change(func(r *identity.EnrolmentRequest) { r.Genesis = fl.DigestBytes(nil) })},
		{"a secret that is not the request's", fl.CodeMalformed, "new", wrongSecret, csr, good},
		{"a secret that nobody was given", fl.CodeToken, "new", wrongSecret, csr, change(func(r *identity.EnrolmentRequest) { r.Token = identity.SecretDigest(wrongSecret) })},
		{"no secret", fl.CodeToken, "new", nil, csr, change(func(r *identity.EnrolmentRequest) { r.Token = identity.SecretDigest(nil) })},
		{"another certificate request", fl.CodeMalformed, "new", token.Secret, csr[1:], good},
		{"a request that is no request", fl.CodeMalformed, "new", token.Secret, []byte("x"), change(func(r *identity.EnrolmentRequest) { r.CSR = fl.DigestBytes([]byte("x")) })},
		{"a key that did not sign", fl.CodeBadSignature, "new", token.Secret, csr, change(func(r *identity.EnrolmentRequest) { r.SigningKey = make([]byte, 32) })},
		{"another document", fl.CodeMalformed, "new", token.Secret, csr, newcomer.sign(identity.CertificateRenewal{Genesis: b.a.genesisID, Node: "new", CSR: request.CSR, At: b.a.now()}).Encode()},
	}
	for _, c := range cases {
		b.refused(c.name, c.want, c.sender, func() error { return enrol(c.secret, c.csr, c.document) })
	}
	foreign, err := identity.NewCSR("alpha", keys)
	b.must(err)
	b.refused("a certificate for another name", fl.CodeMalformed, "new", func() error {
		return enrol(token.Secret, foreign, change(func(r *identity.EnrolmentRequest) { r.CSR = fl.DigestBytes(foreign) }))
	})
	// The invitation is for one name.
	thief := &party{b: b, name: "thief", keys: keys}
	b.refused("somebody else's invitation", fl.CodeToken, "thief", func() error {
		r := request
		r.Node = "thief"
		return enrol(token.Secret, csr, thief.sign(r).Encode())
	})
	b.must(enrol(token.Secret, csr, good))
	before := b.dump()
	b.must(enrol(token.Secret, csr, good)) // a lost answer
	if b.dump() != before {
		t.Error("enrolling again changed the store")
	}
	again, err := identity.Generate()
	b.must(err)
	newcomer.keys = again
	csr2, err := identity.NewCSR("new", again)
	b.must(err)
	b.refused("a used token with other keys", fl.CodeToken, "new", func() error {
		return enrol(token.Secret, csr2, change(func(r *identity.EnrolmentRequest) { r.SigningKey, r.CSR = again.SigningPublic(), fl.DigestBytes(csr2) }))
	})
	expired, err := b.a.Invite(b.ctx, InviteOptions{Node: "slow", Roles: []fl.Role{fl.RoleNode}, Valid: time.Hour})
	b.must(err)
	b.clock.add(2 * time.Hour)
	slow := &party{b: b, name: "slow", keys: again}
	csr3, err := identity.NewCSR("slow", again)
	b.must(err)
	b.refused("an expired token", fl.CodeToken, "slow", func() error {
		return enrol(expired.Secret, csr3, slow.sign(identity.EnrolmentRequest{
			Genesis: b.a.genesisID, Token: identity.SecretDigest(expired.Secret), Node: "slow", SigningKey: again.SigningPublic(), CSR: fl.DigestBytes(csr3),
		}).Encode())
	})

	// Renewals are signed by the enrolled key, fresh, and not for the revoked.
	alpha := b.parties["alpha"]
	renewal := identity.CertificateRenewal{Genesis: b.a.genesisID, Node: "alpha", At: b.a.now()}
	alphaCSR, err := identity.NewCSR("alpha", alpha.keys)
	b.must(err)
	renewal.CSR = fl.DigestBytes(alphaCSR)
	renew := func(document []byte) error {
		_, err := api.Renew(b.ctx, &flpb.RenewRequest{Document: document, Csr: alphaCSR})
		return flpb.FromStatus(err)
	}
	b.refused("a renewal of a party that is not enrolled", fl.CodeUnknownParty, "thief", func() error {
		r := renewal
		r.Node = "thief"
		return renew(thief.sign(r).Encode())
	})
	b.refused("a renewal for another", fl.CodeWrongAddressee, "beta", func() error { return renew(b.parties["beta"].sign(renewal).Encode()) })
	b.refused("a renewal with another's key", fl.CodeBadSignature, "alpha", func() error {
		e := alpha.sign(renewal)
		e.Signature = b.parties["beta"].sign(renewal).Signature
		return renew(e.Encode())
	})
	b.refused("an old renewal", fl.CodeClock, "alpha", func() error {
		r := renewal
		r.At = r.At.Add(-time.Hour)
		return renew(alpha.sign(r).Encode())
	})
	b.must(renew(alpha.sign(renewal).Encode()))
	b.must(b.a.Revoke(b.ctx, "alpha", "left"))
	b.refused("a renewal of a revoked party", fl.CodeRevoked, "alpha", func() error { return renew(alpha.sign(renewal).Encode()) })
}

// TestBadConnections calls without the right certificate.
func TestBadConnections(t *testing.T) {
	t.Parallel()
	b := newBench(t, "alpha", "beta")
	b.serve()
	nobody := flpb.NewFederationClient(b.dial(nil))
	_, err := nobody.Work(b.ctx, &flpb.WorkRequest{})
	if fl.CodeOf(flpb.FromStatus(err)) != fl.CodeUnknownParty || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without a certificate: %v", err)
	}
	// A certificate of another federation's authority.
	elsewhere := newBench(t, "alpha", "beta")
	elsewhere.address = b.address
	intruder := elsewhere.parties["alpha"]
	elsewhere.a.genesis.CertificateCA = b.a.genesis.CertificateCA // so that it accepts the server
	intruder.connect()
	if _, err := intruder.api.Work(b.ctx, &flpb.WorkRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("with a foreign certificate: %v", err)
	}
	// One that expires while the connection lives.
	alpha := b.parties["alpha"]
	if _, err := alpha.api.ListBalances(b.ctx, &flpb.ListBalancesRequest{}); err != nil {
		t.Fatal(err)
	}
	b.clock.add(31 * 24 * time.Hour)
	_, err = alpha.api.ListBalances(b.ctx, &flpb.ListBalancesRequest{})
	if fl.CodeOf(flpb.FromStatus(err)) != fl.CodeUnknownParty || !strings.Contains(err.Error(), "expired on 2026-03-31") {
		t.Errorf("with an expired certificate: %v", err)
	}
}

// TestBadBlobs uploads and downloads what one may not.
func TestBadBlobs(t *testing.T) {
	t.Parallel()
	b := newBench(t, "alpha", "beta", "gamma")
	b.generate(nil)
	b.startJob(b.jobSpec("job"))
	r := b.round("job", 1)
	for _, m := range b.members {
		p := b.parties[m]
		b.must(p.submit(p.noise(r)))
		b.must(p.submit(p.update(r)))
	}
	b.must(b.a.Pass(b.ctx))
	r = b.round("job", 1)
	shares := map[fl.NodeID]fl.DecryptionShare{}
	for _, m := range b.members {
		shares[m] = b.parties[m].share(r)
		b.must(b.parties[m].submit(shares[m]))
	}
	b.must(b.a.Pass(b.ctx))
	b.serve()
	alpha, beta := b.parties["alpha"], b.parties["beta"]

	data := bytes.Repeat([]byte("x"), 1000)
	digest := fl.DigestBytes(data)
	up := func(p *party, digest []byte, offset int64, data []byte, last bool) error {
		_, err := p.api.Upload(b.ctx, &flpb.UploadRequest{Digest: digest, Offset: offset, Data: data, Last: last})
		return flpb.FromStatus(err)
	}
	b.must(up(alpha, digest[:], 0, data[:100], false))
	b.refused("a chunk that leaves a gap", fl.CodeNotReady, "alpha", func() error { return up(alpha, digest[:], 200, data[200:], true) })
	b.refused("a chunk that comes again", fl.CodeNotReady, "alpha", func() error { return up(alpha, digest[:], 0, data[:100], false) })
	b.refused("a chunk before the beginning", fl.CodeNotReady, "alpha", func() error { return up(alpha, digest[:], -1, data[:100], false) })
	b.refused("a digest cut short", fl.CodeMalformed, "alpha", func() error { return up(alpha, digest[:31], 100, data[100:], true) })
	b.refused("a chunk over the limit", fl.CodeTooLarge, "alpha", func() error { return up(alpha, digest[:], 100, make([]byte, maxChunk+1), false) })
	b.refused("the end of nothing", fl.CodeNotFound, "alpha", func() error { return up(alpha, b.a.genesisID[:], 0, nil, true) })
	// Nobody sees or disturbs another's upload.
	held, err := beta.api.UploadStatus(b.ctx, &flpb.UploadStatusRequest{Digest: digest[:]})
	if err != nil || held.GetOffset() != 0 || held.GetComplete() {
		t.Errorf("beta sees alpha's upload: %v %v", held, err)
	}
	b.refused("bytes that are not the blob", fl.CodeCorrupt, "alpha", func() error { return up(alpha, digest[:], 100, bytes.Repeat([]byte("y"), 900), true) })
	b.must(up(alpha, digest[:], 0, data, true))
	b.refused("more than the quota", fl.CodeTooLarge, "alpha", func() error {
		for i := int64(0); ; i++ {
			if err := up(alpha, b.a.genesisID[:], i*maxChunk, make([]byte, maxChunk), false); err != nil || i == 8 {
				return err
			}
		}
	})
	// Another party's quota is its own.
	other := fl.DigestBytes([]byte("beta"))
	b.must(up(beta, other[:], 0, []byte("beta"), true))

	down := func(p *party, digest, via []byte, offset int64, length int32) error {
		_, err := p.api.Download(b.ctx, &flpb.DownloadRequest{Digest: digest, Via: via, Offset: offset, Length: length})
		return flpb.FromStatus(err)
	}
	update, err := b.a.store.Document(b.ctx, r.seal.Headers[0])
	b.must(err)
	var header fl.UpdateHeader
	b.must(update.Read(&header))
	headerID := update.Digest()
	dealing, err := b.a.store.Document(b.ctx, r.seal.Dealings[0])
	b.must(err)
	var noise fl.NoiseDealing
	b.must(dealing.Read(&noise))
	dealingID := dealing.Digest()
	shareID := b.parties["alpha"].sign(shares["alpha"]).Digest()
	key := r.epoch.Key.Digest()
	keyDealing := r.epoch.Dealings["alpha"]
	keyDealingID := keyDealing.Digest()
	var kd fl.KeyDealing
	b.must(keyDealing.Read(&kd))
	mine, theirs := noise.Boxes[1].Digest, noise.Boxes[2].Digest // beta's and gamma's
	for _, c := range []struct {
		name        string
		want        fl.Code // "" when it is allowed
		digest, via fl.Digest
	}{
		{"another client's ciphertext", fl.CodeNotAllowed, header.Ciphertexts[0].Digest, headerID},
		{"a ciphertext through the seal", fl.CodeNotAllowed, header.Ciphertexts[0].Digest, r.sealID},
		{"a decryption share, once its round is published", "", shares["alpha"].Shares[0].Digest, shareID},
		{"noise sealed for another", fl.CodeNotAllowed, theirs, dealingID},
		{"a key share sealed for another", fl.CodeNotAllowed, kd.Boxes[0].Digest, keyDealingID},
		{"a key share sealed for another, through the key", fl.CodeNotAllowed, kd.Boxes[0].Digest, key},
		{"an unfinished document", fl.CodeNotFound, digest, digest},
		{"a blob that a document does not name", fl.CodeNotAllowed, digest, r.sealID},
		{"its own box", "", mine, dealingID},
		{"its own key share", "", kd.Boxes[1].Digest, keyDealingID},
		{"half of a sum", "", r.seal.Sums[0].C1, r.sealID},
		{"the public key", "", r.epoch.key.PublicKey, key},
		{"the base model", "", r.plan.BaseModel, r.planID},
	} {
		if c.want == "" {
			if err := down(beta, c.digest[:], c.via[:], 0, 64); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		b.refused(c.name, c.want, beta.name, func() error { return down(beta, c.digest[:], c.via[:], 0, 64) })
	}
	b.refused("a download of nothing", fl.CodeMalformed, "beta", func() error { return down(beta, mine[:], dealingID[:], 0, 0) })
	b.refused("a download of too much", fl.CodeMalformed, "beta", func() error { return down(beta, mine[:], dealingID[:], 0, maxDownload+1) })
	b.refused("a download before the beginning", fl.CodeMalformed, "beta", func() error { return down(beta, mine[:], dealingID[:], -1, 8) })
	b.refused("a download without a document", fl.CodeMalformed, "beta", func() error { return down(beta, mine[:], nil, 0, 8) })
	b.refused("a document that does not exist", fl.CodeNotFound, "beta", func() error {
		_, err := beta.api.GetDocument(b.ctx, &flpb.GetDocumentRequest{Digest: digest[:]})
		return flpb.FromStatus(err)
	})
	// A message over the transport's limit never reaches the aggregator's code.
	_, err = beta.api.Submit(b.ctx, &flpb.SubmitRequest{Document: make([]byte, maxMessage+1)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("an oversized message: %v", err)
	}
	if _, err := beta.api.ListBalances(b.ctx, &flpb.ListBalancesRequest{}); err != nil {
		t.Errorf("after all that the aggregator does not answer: %v", err)
	}
}

// TestDamagedBlob lets the disk flip a bit: before the update is accepted the
// client is asked for the ciphertext again; afterwards the round is given up
// and the job goes on with the next one.
func TestDamagedBlob(t *testing.T) {
	t.Parallel()
	b := newBench(t, "alpha", "beta")
	b.generate(nil)
	b.startJob(b.jobSpec("job"))
	r := b.round("job", 1)
	damage := func(digest fl.Digest) {
		name := digest.String()
		path := filepath.Join(b.dir, "aggregator", blobFolder, "blobs", name[:2], name[2:])
		raw, err := os.ReadFile(path)
		b.must(err)
		raw[len(raw)/2] ^= 1
		b.must(os.WriteFile(path, raw, 0o600))
	}
	alpha, beta := b.parties["alpha"], b.parties["beta"]
	update := alpha.update(r)
	raw := slices.Clone(b.blob(update.Ciphertexts[0].Digest))
	damage(update.Ciphertexts[0].Digest)
	alpha.refuses("an update that the disk damaged", fl.CodeNotReady, update)
	alpha.put(raw)
	alpha.accepts(update)
	for _, p := range []*party{alpha, beta} {
		b.must(p.submit(p.noise(r)))
	}
	b.must(beta.submit(beta.update(r)))
	damage(update.Ciphertexts[0].Digest)
	b.must(b.a.Pass(b.ctx))
	if r := b.round("job", 1); r.phase != "aborted" {
		t.Fatalf("with a damaged ciphertext the round is %s", r.phase)
	}
	b.clock.add(2 * time.Second)
	b.must(b.a.Pass(b.ctx))
	if r := b.round("job", 2); r.phase != "open" {
		t.Fatalf("the next round is %s", r.phase)
	}
	b.checkLedger()
}
