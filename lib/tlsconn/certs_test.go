package tlsconn

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/test/ca"
)

// files makes a directory with files of certificates and keys.
func files(t *testing.T) (path func(string) string, write func(name, text string) string) {
	t.Helper()
	dir := t.TempDir()
	path = func(name string) string { return filepath.Join(dir, name) }
	return path, func(name, text string) string {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
}

// halves are the key and the certificates of a chain file.
func halves(t *testing.T, file string) (key, certs string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(text, []byte("-----BEGIN CERTIFICATE"))
	return string(text[:i]), string(text[i:])
}

func TestLoadChains(t *testing.T) {
	authority := ca.New(t, "Test CA")
	path, write := files(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := ca.WriteChain(t, path("ec.pem"), authority.Issue(t, ca.Leaf{CN: "ec"}))
	rsaFile := ca.WriteChain(t, path("rsa.pem"), authority.Issue(t, ca.Leaf{CN: "rsa", Key: rsaKey}))
	ed := ca.WriteChain(t, path("ed.pem"), authority.Issue(t, ca.Leaf{CN: "ed", Key: edKey}))
	old := ca.WriteChain(t, path("old.pem"), authority.Issue(t, ca.Leaf{CN: "old", Expired: true}))
	key, certs := halves(t, ec)
	otherKey, _ := halves(t, rsaFile)
	for _, tc := range []struct {
		behaviour string
		files     []string
		names     string // common names of what was loaded
		err       error
		says      string // of the error or a warning
	}{
		{"nothing", nil, "", nil, ""},
		{"RSA, ECDSA and Ed25519", []string{rsaFile, ec, ed}, "rsa ec ed", nil, ""},
		{"two chains in one file", []string{write("two", key+certs+key+certs)}, "ec ec", nil, ""},
		{"the key in a file before its certificate", []string{write("k", key), write("c", certs)}, "ec", nil, ""},
		{"an expired certificate warns", []string{old}, "old", nil, "old.pem: the certificate of CN=old has expired on "},
		{"a key of another certificate", []string{write("bad", otherKey+certs)}, "", ErrMismatch, "bad: the private key does not belong"},
		{"the certificate first", []string{write("first", certs+key)}, "", ErrKeyFirst, "first: "},
		{"a key alone", []string{write("alone", key)}, "", ErrNoCert, "alone: "},
		{"an empty file", []string{write("empty", "")}, "", ErrNoKey, "empty: "},
		{"no file", []string{path("none")}, "", os.ErrNotExist, "none: no such file"},
		{"a key with a passphrase", []string{write("enc", strings.ReplaceAll(key, "PRIVATE", "ENCRYPTED PRIVATE")+certs)}, "", ErrEncrypted, "enc: "},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			got, err := LoadChains(tc.files, time.Now())
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			said := strings.Join(got.Warnings, "\n")
			if err != nil {
				said = err.Error()
			}
			if (tc.says == "") != (said == "") || !strings.Contains(said, tc.says) {
				t.Errorf("says %q, want %q", said, tc.says)
			}
			var names []string
			for _, c := range got.List {
				names = append(names, c.Leaf.Subject.CommonName)
			}
			if err == nil && strings.Join(names, " ") != tc.names {
				t.Errorf("loaded %q, want %q", names, tc.names)
			}
		})
	}
}

func TestLoadPairs(t *testing.T) {
	authority := ca.New(t, "Test CA")
	path, write := files(t)
	both := ca.WriteChain(t, path("both"), authority.Issue(t, ca.Leaf{CN: "pair"}))
	key, certs := halves(t, both)
	keyFile, certFile := write("key", key), write("cert", certs)
	for _, tc := range []struct {
		behaviour string
		pair      Pair
		n         int
		says      string
	}{
		{"two files", Pair{certFile, keyFile}, 1, ""},
		{"one file", Pair{CertFile: both}, 1, ""},
		{"none", Pair{CertFile: "none", KeyFile: "none"}, 0, ""},
		{"not set", Pair{}, 0, ""},
		{"no key", Pair{CertFile: certFile}, 0, "cert: there is no private key for "},
		{"no certificate", Pair{keyFile, keyFile}, 0, "key: there is no certificate in the file"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			got, err := LoadPairs([]Pair{tc.pair}, time.Now())
			if len(got.List) != tc.n || (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%d certificates, %v; want %d, %q", len(got.List), err, tc.n, tc.says)
			}
		})
	}
}

// The files of an error are watched: when they are put right a worker notices.
func TestFilesOfAnErrorAreNamed(t *testing.T) {
	pairs := []Pair{{"/nonexistent/cert", "/nonexistent/key"}, {CertFile: "/nonexistent/both"}}
	got, err := LoadPairs(pairs, time.Now())
	if want := "/nonexistent/cert /nonexistent/key /nonexistent/both /nonexistent/both"; err == nil || strings.Join(got.Files, " ") != want {
		t.Errorf("%q, %v; want %q", got.Files, err, want)
	}
	if pairs[1].KeyFile != "" {
		t.Error("the caller's pairs were changed")
	}
}

// A directory of CAs is watched with its files: who joins or leaves it changes it.
func TestDirectoryOfCAsIsWatched(t *testing.T) {
	dir := t.TempDir()
	file := ca.New(t, "CA").WriteCert(t, dir)
	for _, other := range []string{"README", "empty"} {
		if err := os.WriteFile(filepath.Join(dir, other), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, files, err := LoadRoots("", dir, false)
	if err != nil || !slices.Contains(files, dir) || !slices.Contains(files, file) {
		t.Errorf("watched: %q, %v", files, err)
	}
}

// Files that are still being written are waited for, and no longer than needed.
func TestFilesSettle(t *testing.T) {
	for _, unfinished := range []error{ErrMismatch, ErrNoKey, ErrNoCert} {
		calls := 0
		load := func() (Certificates, error) {
			if calls++; calls < 3 {
				return Certificates{}, fmt.Errorf("parameter x: y.pem: %w", unfinished)
			}
			return Certificates{}, nil
		}
		if _, err := Settle(time.Now().Add(time.Minute), load); err != nil || calls != 3 {
			t.Errorf("%v: %v after %d attempts", unfinished, err, calls)
		}
	}
	for _, final := range []error{ErrEncrypted, os.ErrNotExist} {
		calls := 0
		_, err := Settle(time.Now().Add(time.Minute), func() (Certificates, error) { calls++; return Certificates{}, final })
		if !errors.Is(err, final) || calls != 1 {
			t.Errorf("%v after %d attempts, want %v", err, calls, final)
		}
	}
}

func TestParseSNIValue(t *testing.T) {
	authority := ca.New(t, "Test CA")
	path, _ := files(t)
	file := ca.WriteChain(t, path("chain"), authority.Issue(t, ca.Leaf{CN: "sni"}))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{file, base64.StdEncoding.EncodeToString(text)} {
		if got, err := ParseSNIValue("x.test", value, time.Now()); err != nil || len(got) != 1 {
			t.Errorf("%.40q: %d certificates, %v", value, len(got), err)
		}
	}
	for _, value := range []string{"chain", "/nonexistent", base64.StdEncoding.EncodeToString(text[:200])} {
		if got, err := ParseSNIValue("x.test", value, time.Now()); err == nil {
			t.Errorf("%.40q gave %d certificates", value, len(got))
		}
	}
}

func FuzzParseChain(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ParseChain("fuzz", text, time.Unix(0, 0))
		for _, c := range got.List {
			if c.PrivateKey == nil || c.Leaf == nil {
				t.Errorf("a certificate without its key (%v)", err)
			}
		}
	})
}
