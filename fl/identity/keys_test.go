package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKeysAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on", "demand")
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	first, err := LoadOrGenerate(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, keyFile): 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %04o, want %04o", name, info.Mode().Perm(), mode)
		}
	}
	second, err := LoadOrGenerate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Signing.Equal(first.Signing) || !second.TLS.Equal(first.TLS) {
		t.Error("a second start made other keys")
	}
	if third := newKeys(t); third.Signing.Equal(first.Signing) || third.TLS.Equal(first.TLS) {
		t.Error("two parties have the same keys")
	}
}

func TestKeysThatOthersCanReadAreRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadOrGenerate(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, keyFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for mode := fs.FileMode(0); mode <= 0o777; mode++ {
		if mode&0o400 == 0 { // unreadable: another error, and root does not see it
			continue
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrGenerate(dir)
		if mode&0o077 == 0 {
			if err != nil {
				t.Errorf("mode %04o: %v", mode, err)
			}
			continue
		}
		wantError(t, fmt.Sprintf("mode %04o", mode), err, path, fmt.Sprintf("(mode %04o)", mode), "chmod 600 "+path)
	}
	// Refusing must not have replaced them.
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the keys were replaced (%v)", err)
	}
}

func pemOf(t *testing.T, keys ...any) []byte {
	t.Helper()
	var out []byte
	for _, key := range keys {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	return out
}

func TestDamagedKeysAreNamedAndNotQuoted(t *testing.T) {
	keys := newKeys(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := pemOf(t, keys.Signing, keys.TLS)
	secret := keys.Signing.Seed()
	raw := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	cases := map[string][]byte{
		"empty":         {},
		"text":          []byte("hunter2 hunter2"),
		"one":           pemOf(t, keys.Signing),
		"the same kind": pemOf(t, keys.Signing, keys.Signing),
		"wrong curve":   pemOf(t, keys.Signing, p384),
		"three":         append(append([]byte(nil), good...), pemOf(t, keys.TLS)...),
		"bytes after":   append(append([]byte(nil), good...), "hunter2"...),
		"not PKCS #8":   append(raw, raw...),
	}
	for _, n := range []int{1, len(good) / 4, len(good) / 2, 3 * len(good) / 4, len(good) - 10} {
		cases[fmt.Sprintf("cut at %d", n)] = good[:n]
	}
	for name, content := range cases {
		dir := t.TempDir()
		if err := WriteFile(filepath.Join(dir, keyFile), content); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrGenerate(dir)
		wantError(t, name, err, filepath.Join(dir, keyFile))
		if err != nil && leaks(err.Error(), secret, keys.TLS) {
			t.Errorf("%s: quotes a secret: %v", name, err)
		}
		if after, readErr := os.ReadFile(filepath.Join(dir, keyFile)); readErr != nil || !bytes.Equal(after, content) {
			t.Errorf("%s: damaged keys were replaced: they may be the only copy", name)
		}
	}
}

// leaks reports whether a text holds a secret, or a good part of one, in any
// usual spelling.
func leaks(text string, seed []byte, transport *ecdsa.PrivateKey) bool {
	scalar, err := transport.Bytes()
	if err != nil {
		return true
	}
	if strings.Contains(text, "hunter2") {
		return true
	}
	for _, secret := range [][]byte{seed, scalar} {
		for _, spelling := range []string{
			hex.EncodeToString(secret[:8]), strings.ToUpper(hex.EncodeToString(secret[:8])), base64.StdEncoding.EncodeToString(secret[:9]),
			strings.Trim(fmt.Sprint(secret[:8]), "[]"), string(secret[:8]), transport.D.String(), //nolint:staticcheck // D is how reflection would print it
		} {
			if strings.Contains(text, spelling) {
				return true
			}
		}
	}
	return false
}

func TestKeysDoNotReachLogs(t *testing.T) {
	keys := newKeys(t)
	a := newAuthority(t)
	token := Token{Address: "a:1", Genesis: [32]byte{1}, Authority: [32]byte{2}, Node: "north", Secret: keys.Signing.Seed()}
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(handler)
		log.Info("started", "keys", keys, "value", *keys, "token", token, "authority", a)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, value := range []any{keys, *keys, struct{ K *Keys }{keys}, []*Keys{keys}, fmt.Errorf("joining with %v", keys), a} {
			_, _ = fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	if leaks(out.String(), keys.Signing.Seed(), keys.TLS) {
		t.Errorf("a secret was printed:\n%s", out.String())
	}
	if leaks(out.String(), keys.Signing.Seed(), a.key) {
		t.Errorf("the authority's key was printed:\n%s", out.String())
	}
	if strings.Contains(out.String(), token.String()) {
		t.Error("the invitation was logged whole")
	}
	// The check itself can see a leak.
	raw, err := json.Marshal(keys.Signing)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(raw), fmt.Sprintf("%x", keys.Signing), fmt.Sprintf("%v", []byte(keys.Signing))} {
		if !leaks(text, keys.Signing.Seed(), keys.TLS) {
			t.Errorf("leaks does not see %q", text)
		}
	}
}

func TestWriteFileReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	rapid.Check(t, func(r *rapid.T) {
		want := rapid.SliceOf(rapid.Byte()).Draw(r, "content")
		if err := WriteFile(path, want); err != nil {
			r.Fatal(err)
		}
		got, err := ReadSecret(path)
		if err != nil || !bytes.Equal(got, want) {
			r.Fatalf("got %d bytes (%v), want %d", len(got), err, len(want))
		}
	})
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v left behind (%v)", entries, err)
	}
}

// A write that cannot finish leaves the old content and nothing else. The
// rename is the only step at which the name changes what it names; here it
// fails because the name is a folder that is not empty.
func TestWriteFileThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := os.MkdirAll(filepath.Join(path, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := WriteFile(path, []byte("hunter2"))
	wantError(t, "rename", err, "writing "+path)
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("quotes the content: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "state" {
		t.Errorf("after a failed write: %v (%v)", entries, err)
	}

	file := filepath.Join(dir, "file")
	if err := WriteFile(file, []byte("x")); err != nil {
		t.Fatal(err)
	}
	wantError(t, "folder is a file", WriteFile(filepath.Join(file, "state"), nil), "making the folder")
}

// A crash between creating the new file and renaming it leaves a file under a
// name that nobody reads; the next start sees the old content.
func TestWriteFileSurvivesACrashBeforeTheRename(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadOrGenerate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "."+keyFile+"-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := LoadOrGenerate(dir)
	if err != nil || !second.Signing.Equal(first.Signing) {
		t.Errorf("the old keys are gone: %v", err)
	}
}

// A reader never sees a mixture while another process writes.
func TestWriteFileIsAtomicForReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	contents := [][]byte{bytes.Repeat([]byte{'a'}, 1<<16), bytes.Repeat([]byte{'b'}, 1<<15)}
	if err := WriteFile(path, contents[0]); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for i := range 50 {
			if err := WriteFile(path, contents[i%2]); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		got, err := ReadSecret(path)
		if err != nil || !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
			t.Fatalf("read %d bytes (%v)", len(got), err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

func TestSigningPublic(t *testing.T) {
	keys := newKeys(t)
	message := []byte("plan")
	if !ed25519.Verify(keys.SigningPublic(), message, ed25519.Sign(keys.Signing, message)) {
		t.Error("the public key does not verify the private key's signature")
	}
}
